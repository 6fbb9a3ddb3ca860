package host

import (
	"encoding/binary"
	"strings"

	"github.com/sluicegate/sluice/abi"
)

// checkMarker looks for the export that names the ABI's version.
func checkMarker(wasm []byte) error {
	other := ""
	for _, e := range exports(wasm) {
		name := e.name
		if name == abi.ExportMarker {
			if e.kind != exportFunction && e.kind != exportGlobal {
				return unusable("its export %q is neither a function nor a global", name)
			}
			return nil
		}
		if strings.HasPrefix(name, markerPrefix) {
			other = name
		}
	}
	if other != "" {
		return unusable("it exports %q and not %q: it was built for another version of the ABI than this host's, %d", other, abi.ExportMarker, abi.Version)
	}
	return unusable("it does not export %q: it was not built for Sluice (see abi/README.md), or its linker dropped the export", abi.ExportMarker)
}

const markerPrefix = "sluice_abi_v"

const sectionExport = 7

// export is one entry of a module's export section.
type export struct {
	name string
	kind byte
}

// Kinds of exports.
const (
	exportFunction = 0
	exportGlobal   = 3
)

// exports returns a module's exports, as far as the bytes make sense.
func exports(wasm []byte) []export {
	rest := wasm[min(8, len(wasm)):]
	for len(rest) > 0 {
		content, tail, ok := sized(rest[1:])
		if !ok {
			break
		}
		if rest[0] == sectionExport {
			return exportSection(content)
		}
		rest = tail
	}
	return nil
}

func exportSection(b []byte) []export {
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return nil
	}
	b = b[n:]
	var list []export
	for ; count > 0; count-- {
		name, rest, ok := sized(b)
		if !ok || len(rest) == 0 {
			break
		}
		list = append(list, export{string(name), rest[0]})
		_, n := binary.Uvarint(rest[1:]) // the index
		if n <= 0 {
			break
		}
		b = rest[1+n:]
	}
	return list
}

// sized splits b behind the bytes whose number it begins with.
func sized(b []byte) (content, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n:][:size], b[n+int(size):], true
}

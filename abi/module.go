package abi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Errors about modules. They say what the bytes are not; the caller knows
// which file they came from.
var (
	ErrNotWasm   = errors.New("not a WebAssembly module")
	ErrComponent = errors.New("a WebAssembly component, not a core module; build for a core target such as wasip1")
)

// ImportKind is the kind of an import.
type ImportKind byte

// Kinds of imports.
const (
	ImportFunc   ImportKind = 0
	ImportTable  ImportKind = 1
	ImportMemory ImportKind = 2
	ImportGlobal ImportKind = 3
)

// Import is one entry of a module's import section.
type Import struct {
	Module, Name string
	Kind         ImportKind
}

const (
	sectionCustom = 0
	sectionImport = 2
)

// sections calls f with each section of a module: its id, all its bytes and
// its content. It checks the module's frame only.
func sections(wasm []byte, f func(id byte, whole, content []byte) error) error {
	switch {
	case len(wasm) < 8 || string(wasm[:4]) != "\x00asm":
		return ErrNotWasm
	case string(wasm[4:8]) == "\x0d\x00\x01\x00":
		return ErrComponent
	case string(wasm[4:8]) != "\x01\x00\x00\x00":
		return fmt.Errorf("version %x: %w", wasm[4:8], ErrNotWasm)
	}
	for rest := wasm[8:]; len(rest) > 0; {
		r := reader{b: rest[1:]}
		content := r.bytes(r.leb())
		if r.bad {
			return fmt.Errorf("section at offset %d: %w", len(wasm)-len(rest), ErrMalformed)
		}
		whole := rest[: len(rest)-len(r.b) : len(rest)-len(r.b)]
		if err := f(rest[0], whole, content); err != nil {
			return err
		}
		rest = r.b
	}
	return nil
}

// leb reads an unsigned LEB128 integer of 32 bits.
func (r *reader) leb() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		if len(r.b) == 0 {
			break
		}
		c := r.b[0]
		r.b = r.b[1:]
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}
	r.fail()
	return 0
}

func appendLEB(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func (r *reader) name() []byte { return r.bytes(r.leb()) }

// CustomSection returns a view of the content of the custom section of this
// name, nil if there is none. Two of the same name are an error.
func CustomSection(wasm []byte, name string) ([]byte, error) {
	var found []byte
	err := sections(wasm, func(id byte, _, content []byte) error {
		body, ok, err := customSection(id, content, name)
		if err != nil || !ok {
			return err
		}
		if found != nil {
			return fmt.Errorf("custom section %q occurs twice: %w", name, ErrMalformed)
		}
		found = body
		return nil
	})
	return found, err
}

func customSection(id byte, content []byte, name string) (body []byte, ok bool, err error) {
	if id != sectionCustom {
		return nil, false, nil
	}
	r := reader{b: content}
	got := r.name()
	if r.bad {
		return nil, false, fmt.Errorf("name of a custom section: %w", ErrMalformed)
	}
	return r.b, string(got) == name, nil
}

// SetCustomSection returns a copy of the module in which one custom section
// of this name holds content, as its last section. Older ones of the name
// are left out, so that setting the same content twice changes nothing.
func SetCustomSection(wasm []byte, name string, content []byte) ([]byte, error) {
	out := make([]byte, 0, len(wasm)+len(name)+len(content)+16)
	err := sections(wasm, func(id byte, whole, old []byte) error {
		_, ok, err := customSection(id, old, name)
		if err == nil && !ok {
			out = append(out, whole...)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	body := appendLEB(nil, uint32(len(name)))
	body = append(body, name...)
	body = append(body, content...)
	head := append([]byte{}, wasm[:8]...)
	out = append(head, out...)
	out = append(out, sectionCustom)
	out = appendLEB(out, uint32(len(body)))
	return append(out, body...), nil
}

// Imports returns a module's imports in their order. The same one may be
// there more than once.
func Imports(wasm []byte) ([]Import, error) {
	var imports []Import
	err := sections(wasm, func(id byte, _, content []byte) error {
		if id != sectionImport {
			return nil
		}
		r := reader{b: content}
		for n := r.leb(); n > 0 && !r.bad; n-- {
			imp := Import{Module: string(r.name()), Name: string(r.name())}
			imp.Kind = r.importDesc()
			imports = append(imports, imp)
		}
		if r.bad || len(r.b) != 0 {
			return fmt.Errorf("import section: %w", ErrMalformed)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return imports, nil
}

// importDesc reads what an import is, skipping its type.
func (r *reader) importDesc() ImportKind {
	kind := r.bytes(1)
	if r.bad {
		return 0
	}
	switch ImportKind(kind[0]) {
	case ImportFunc:
		r.leb()
	case ImportTable:
		r.bytes(1)
		r.limits()
	case ImportMemory:
		r.limits()
	case ImportGlobal:
		r.bytes(2)
	default:
		r.fail()
	}
	return ImportKind(kind[0])
}

func (r *reader) limits() {
	flags := r.leb()
	r.leb()
	if flags&1 != 0 {
		r.leb()
	}
}

// validName reports whether s is a manifest's name: lower-case letters,
// digits, and single dots, dashes or underscores between them.
func validName(s string) bool {
	separator := true // at the start and after one, none may follow
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			separator = false
		case (c == '.' || c == '-' || c == '_') && !separator:
			separator = true
		default:
			return false
		}
	}
	return !separator
}

// ParseManifest decodes the content of [ManifestSection]. Members that it
// does not know are ignored.
func ParseManifest(b []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	return &m, nil
}

// Check reports what a manifest lacks.
func (m *Manifest) Check() error {
	if !validName(m.Name) {
		return fmt.Errorf("name %q: want lower-case letters, digits and single dots, dashes or underscores between them", m.Name)
	}
	if m.Version == "" {
		return errors.New("version is missing")
	}
	for i, p := range m.Permissions {
		if p.Capability == "" || p.Reason == "" {
			return fmt.Errorf("permissions[%d]: capability and reason must be there", i)
		}
	}
	return nil
}

// Encode returns the manifest as the content of [ManifestSection], the same
// bytes for the same manifest.
func (m *Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ReadManifest returns the manifest of a module, nil if it has none.
func ReadManifest(wasm []byte) (*Manifest, error) {
	b, err := CustomSection(wasm, ManifestSection)
	if err != nil || b == nil {
		return nil, err
	}
	return ParseManifest(b)
}

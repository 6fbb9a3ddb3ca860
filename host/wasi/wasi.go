// Package wasi answers the functions of WASI preview 1 without letting a guest reach anything. Every function links, because
// compilers' runtimes import many that they never need; there are no arguments, no environment, no directories and no
// sockets, and reading is at its end.
//
// What has an answer comes from a [World]: two clocks, random numbers, and two streams of output. Sleeping takes no time:
// poll_oneoff moves the monotonic clock and returns at once, since a guest whose clock stood still would wait for ever.
//
// The clock of the host is never shown. The package knows of Sluice nothing but this.
package wasi

import (
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"
)

// ModuleName is the name of the import module.
const ModuleName = "wasi_snapshot_preview1"

// World is what little there is outside. Its methods may end the call by panicking.
type World interface {
	// Now returns the real-time clock, in nanoseconds since 1970 UTC.
	Now() int64
	// Monotonic returns the monotonic clock in nanoseconds. It never goes back.
	Monotonic() int64
	// Sleep moves the monotonic clock forward.
	Sleep(ns int64)
	// Random fills p.
	Random(p []byte)
	// Output takes what is written to standard output (1) and standard error (2). It must not keep p.
	Output(fd int, p []byte)
	// Exit ends the call. It does not return.
	Exit(status uint32)
	// Charge is told of work in proportion to n before it is done.
	Charge(n int)
}

// Errno is a WASI error number.
type Errno uint32

// Error numbers that are used.
const (
	Success Errno = 0
	Badf    Errno = 8  // no such descriptor
	Fault   Errno = 21 // a pointer leads out of memory
	Inval   Errno = 28
	Nosys   Errno = 52
	Notsup  Errno = 58
	Spipe   Errno = 70 // a stream has no position
)

// Function is one function of the module.
type Function struct {
	Name string
	// Params are the parameters' types: i is i32, I is i64. The result is an i32, the error number, unless NoResult.
	Params   string
	NoResult bool
	Call     func(w World, m api.Memory, args []uint64) Errno
}

// Functions is all of preview 1.
var Functions = []Function{
	{Name: "args_get", Params: "ii", Call: nothing},
	{Name: "args_sizes_get", Params: "ii", Call: noSizes},
	{Name: "environ_get", Params: "ii", Call: nothing},
	{Name: "environ_sizes_get", Params: "ii", Call: noSizes},
	{Name: "clock_res_get", Params: "ii", Call: clockRes},
	{Name: "clock_time_get", Params: "iIi", Call: clockTime},
	{Name: "fd_advise", Params: "iIIi", Call: badf},
	{Name: "fd_allocate", Params: "iII", Call: badf},
	{Name: "fd_close", Params: "i", Call: stream(nothing)},
	{Name: "fd_datasync", Params: "i", Call: badf},
	{Name: "fd_fdstat_get", Params: "ii", Call: stream(fdstat)},
	{Name: "fd_fdstat_set_flags", Params: "ii", Call: stream(nothing)},
	{Name: "fd_fdstat_set_rights", Params: "iII", Call: stream(nothing)},
	{Name: "fd_filestat_get", Params: "ii", Call: stream(filestat)},
	{Name: "fd_filestat_set_size", Params: "iI", Call: badf},
	{Name: "fd_filestat_set_times", Params: "iIIi", Call: badf},
	{Name: "fd_pread", Params: "iiiIi", Call: stream(spipe)},
	{Name: "fd_prestat_get", Params: "ii", Call: badf},
	{Name: "fd_prestat_dir_name", Params: "iii", Call: badf},
	{Name: "fd_pwrite", Params: "iiiIi", Call: stream(spipe)},
	{Name: "fd_read", Params: "iiii", Call: fdRead},
	{Name: "fd_readdir", Params: "iiiIi", Call: badf},
	{Name: "fd_renumber", Params: "ii", Call: badf},
	{Name: "fd_seek", Params: "iIii", Call: stream(spipe)},
	{Name: "fd_sync", Params: "i", Call: badf},
	{Name: "fd_tell", Params: "ii", Call: stream(spipe)},
	{Name: "fd_write", Params: "iiii", Call: fdWrite},
	{Name: "path_create_directory", Params: "iii", Call: badf},
	{Name: "path_filestat_get", Params: "iiiii", Call: badf},
	{Name: "path_filestat_set_times", Params: "iiiiIIi", Call: badf},
	{Name: "path_link", Params: "iiiiiii", Call: badf},
	{Name: "path_open", Params: "iiiiiIIii", Call: badf},
	{Name: "path_readlink", Params: "iiiiii", Call: badf},
	{Name: "path_remove_directory", Params: "iii", Call: badf},
	{Name: "path_rename", Params: "iiiiii", Call: badf},
	{Name: "path_symlink", Params: "iiiii", Call: badf},
	{Name: "path_unlink_file", Params: "iii", Call: badf},
	{Name: "poll_oneoff", Params: "iiii", Call: pollOneoff},
	{Name: "proc_exit", Params: "i", NoResult: true, Call: procExit},
	{Name: "proc_raise", Params: "i", Call: nosys},
	{Name: "random_get", Params: "ii", Call: randomGet},
	{Name: "sched_yield", Params: "", Call: nothing},
	{Name: "sock_accept", Params: "iii", Call: badf},
	{Name: "sock_recv", Params: "iiiiii", Call: badf},
	{Name: "sock_send", Params: "iiiii", Call: badf},
	{Name: "sock_shutdown", Params: "ii", Call: badf},
}

var le = binary.LittleEndian

func nothing(World, api.Memory, []uint64) Errno { return Success }
func badf(World, api.Memory, []uint64) Errno    { return Badf }
func spipe(World, api.Memory, []uint64) Errno   { return Spipe }
func nosys(World, api.Memory, []uint64) Errno   { return Nosys }

// stream calls f for the descriptors 0 to 2, which are all there are.
func stream(f func(World, api.Memory, []uint64) Errno) func(World, api.Memory, []uint64) Errno {
	return func(w World, m api.Memory, args []uint64) Errno {
		if uint32(args[0]) > 2 {
			return Badf
		}
		return f(w, m, args)
	}
}

// noSizes writes a count of 0 and a size of 0.
func noSizes(_ World, m api.Memory, args []uint64) Errno {
	if !m.WriteUint32Le(uint32(args[0]), 0) || !m.WriteUint32Le(uint32(args[1]), 0) {
		return Fault
	}
	return Success
}

// Clocks. The processor-time clocks are the monotonic one.
const (
	clockRealtime  = 0
	clockMonotonic = 1
	lastClock      = 3
)

// clockRes writes the resolution of a clock: a millisecond, which is Kafka's, or a microsecond.
func clockRes(_ World, m api.Memory, args []uint64) Errno {
	resolution := uint64(1000)
	switch id := uint32(args[0]); {
	case id == clockRealtime:
		resolution = 1_000_000
	case id > lastClock:
		return Inval
	}
	if !m.WriteUint64Le(uint32(args[1]), resolution) {
		return Fault
	}
	return Success
}

func clockTime(w World, m api.Memory, args []uint64) Errno {
	var t int64
	switch id := uint32(args[0]); {
	case id == clockRealtime:
		t = w.Now()
	case id <= lastClock:
		t = w.Monotonic()
	default:
		return Inval
	}
	if !m.WriteUint64Le(uint32(args[2]), uint64(t)) {
		return Fault
	}
	return Success
}

// fdstat describes a character device with the right to read (0) or to write (1, 2).
func fdstat(_ World, m api.Memory, args []uint64) Errno {
	b, ok := m.Read(uint32(args[1]), 24)
	if !ok {
		return Fault
	}
	clear(b)
	b[0] = 2 // character device
	rights := uint64(1 << 1)
	if uint32(args[0]) > 0 {
		rights = 1 << 6
	}
	le.PutUint64(b[8:], rights)
	return Success
}

func filestat(_ World, m api.Memory, args []uint64) Errno {
	b, ok := m.Read(uint32(args[1]), 64)
	if !ok {
		return Fault
	}
	clear(b)
	b[16] = 2 // character device
	return Success
}

// fdRead reads nothing: standard input is at its end.
func fdRead(_ World, m api.Memory, args []uint64) Errno {
	if uint32(args[0]) != 0 {
		return Badf
	}
	if !m.WriteUint32Le(uint32(args[3]), 0) {
		return Fault
	}
	return Success
}

// fdWrite writes a list of buffers to one of the two outputs.
func fdWrite(w World, m api.Memory, args []uint64) Errno {
	fd := uint32(args[0])
	if fd != 1 && fd != 2 {
		return Badf
	}
	list, ok := array(m, args[1], args[2], 8)
	if !ok {
		return Fault
	}
	total := uint32(0)
	for ; len(list) > 0; list = list[8:] {
		p, ok := m.Read(le.Uint32(list), le.Uint32(list[4:]))
		if !ok || total+uint32(len(p)) < total {
			return Fault
		}
		w.Charge(len(p) + 8)
		w.Output(int(fd), p)
		total += uint32(len(p))
	}
	if !m.WriteUint32Le(uint32(args[3]), total) {
		return Fault
	}
	return Success
}

// array returns the bytes of n elements of this size at ptr.
func array(m api.Memory, ptr, n uint64, size uint64) ([]byte, bool) {
	total := uint64(uint32(n)) * size
	if total > 1<<32-1 {
		return nil, false
	}
	return m.Read(uint32(ptr), uint32(total))
}

// Layout of poll_oneoff's subscriptions and events.
const (
	subscriptionSize = 48
	eventSize        = 32
	eventClock       = 0
	eventFDRead      = 1
	eventFDWrite     = 2
	clockAbsolute    = 1
)

// pollOneoff says that everything waited for has come. It moves the monotonic clock to the nearest timeout if there is nothing but timeouts.
func pollOneoff(w World, m api.Memory, args []uint64) Errno {
	n := uint64(uint32(args[2]))
	if n == 0 {
		return Inval
	}
	in, ok := array(m, args[0], n, subscriptionSize)
	if !ok {
		return Fault
	}
	out, ok := array(m, args[1], n, eventSize)
	if !ok {
		return Fault
	}
	w.Charge(len(in))
	sleep, errno := nearest(w, in)
	if errno != Success {
		return errno
	}
	w.Sleep(sleep)
	events := uint32(0)
	for i := range int(n) {
		var e [eventSize]byte
		if answer(in[i*subscriptionSize:][:subscriptionSize], sleep, w, &e) {
			copy(out[events*eventSize:], e[:])
			events++
		}
	}
	if !m.WriteUint32Le(uint32(args[3]), events) {
		return Fault
	}
	return Success
}

// nearest returns how far the nearest timeout is, 0 if a descriptor is waited for.
func nearest(w World, subscriptions []byte) (int64, Errno) {
	least := int64(-1)
	for ; len(subscriptions) > 0; subscriptions = subscriptions[subscriptionSize:] {
		switch subscriptions[8] {
		case eventClock:
			d, errno := timeout(w, subscriptions)
			if errno != Success {
				return 0, errno
			}
			if least < 0 || d < least {
				least = d
			}
		case eventFDRead, eventFDWrite:
			least = 0
		default:
			return 0, Inval
		}
	}
	return max(least, 0), Success
}

// timeout returns how far from now a clock subscription's time is.
func timeout(w World, s []byte) (int64, Errno) {
	id := le.Uint32(s[16:])
	if id > lastClock {
		return 0, Inval
	}
	at := le.Uint64(s[24:])
	if le.Uint16(s[40:])&clockAbsolute == 0 {
		return int64(min(at, 1<<62)), Success
	}
	now := w.Now()
	if id != clockRealtime {
		now = w.Monotonic()
	}
	return max(int64(min(at, 1<<62))-now, 0), Success
}

// answer fills in the event for a subscription, and reports whether it has one: a timeout later than the nearest has not.
func answer(s []byte, slept int64, w World, e *[eventSize]byte) bool {
	copy(e[:8], s[:8]) // userdata
	e[10] = s[8]
	switch s[8] {
	case eventClock:
		d, _ := timeout(w, s)
		return le.Uint16(s[40:])&clockAbsolute != 0 && d <= 0 || d <= slept
	default:
		if le.Uint32(s[16:]) > 2 {
			le.PutUint16(e[8:], uint16(Badf))
		}
		return true
	}
}

func procExit(w World, _ api.Memory, args []uint64) Errno {
	w.Exit(uint32(args[0]))
	return Success
}

func randomGet(w World, m api.Memory, args []uint64) Errno {
	p, ok := m.Read(uint32(args[0]), uint32(args[1]))
	if !ok {
		return Fault
	}
	w.Charge(len(p))
	w.Random(p)
	return Success
}

package extism

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestStore(t *testing.T) {
	var s Store
	s.Reset([]byte("hello, world"))
	h := s.Put([]byte("abc"))
	if h == 0 || s.Length(h) != 3 || s.Length(h+1) != 0 || s.Length(0) != 0 {
		t.Errorf("handle %d of length %d", h, s.Length(h))
	}
	next := s.Alloc(9)
	if next%8 != 0 || s.Length(next) != 9 || s.Length(h) != 3 {
		t.Errorf("handle %d", next)
	}
	if err := s.StoreU64(next, 0x0807060504030201); err != nil {
		t.Error(err)
	}
	if err := s.StoreU8(next+8, 9); err != nil {
		t.Error(err)
	}
	if b, err := s.Bytes(next); err != nil || !bytes.Equal(b, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("%v, %v", b, err)
	}
	if v, err := s.LoadU64(h); err != nil || v != binary.LittleEndian.Uint64([]byte("abc\x00\x00\x00\x00\x00")) {
		t.Errorf("%x, %v", v, err)
	}
	if v, err := s.InputLoadU64(4); err != nil || v != binary.LittleEndian.Uint64([]byte("o, world")) {
		t.Errorf("%x, %v", v, err)
	}
	first, again := s.InputOffset(), s.InputOffset()
	if s.InputLength() != 12 || s.Length(first) != 12 || first != again {
		t.Error("input")
	}
	if err := s.OutputSet(h+1, 2); err != nil || string(s.Output()) != "bc" {
		t.Errorf("output %q, %v", s.Output(), err)
	}
	if err := s.ErrorSet(h); err != nil || s.Error() != "abc" {
		t.Errorf("error %q, %v", s.Error(), err)
	}
	s.Reset(nil)
	if s.Length(h) != 0 || s.Output() != nil || s.Error() != "" || s.InputLength() != 0 || s.InputOffset() != 0 {
		t.Error("something is left after a reset")
	}
}

func TestMemoryIsZeroed(t *testing.T) {
	var s Store
	for range 3 {
		h := s.Alloc(100)
		b, err := s.Bytes(h)
		if err != nil || !bytes.Equal(b, make([]byte, 100)) {
			t.Fatalf("%v, %v", b, err)
		}
		for i := range b {
			b[i] = 0xff
		}
		if s.Alloc(8); s.Length(h) != 100 {
			t.Error("the block is gone")
		}
		s.Free(h) // not the last: nothing
		s.Free(h + 104)
		if s.Alloc(8) != h+104 {
			t.Error("the last block is not used again")
		}
		s.Reset(nil)
	}
}

func TestFull(t *testing.T) {
	var s Store
	for _, n := range []uint64{MaxBytes + 1, MaxBytes - 7, 1<<64 - 1, 0} {
		if h := s.Alloc(n); h != 0 {
			t.Errorf("%d bytes: handle %d", n, h)
		}
	}
	if s.Alloc(MaxBytes-8) == 0 || s.Alloc(1) != 0 {
		t.Error("at the limit")
	}
	s.Reset(nil)
	if cap(s.bytes) > keepBytes {
		t.Errorf("%d bytes are kept", cap(s.bytes))
	}
}

func TestWrongOffsets(t *testing.T) {
	var s Store
	s.Reset([]byte("12345678"))
	h := s.Put([]byte("12345678"))
	for _, at := range []uint64{0, h - 1, h + 1, 1 << 40, 1<<64 - 1, 1<<64 - 8} {
		_, load := s.LoadU64(at)
		store := s.StoreU64(at, 1)
		output := s.OutputSet(at, 8)
		_, err := s.InputLoadU64(at | 1)
		for _, err := range []error{load, store, output, err} {
			if !errors.Is(err, ErrHandle) {
				t.Errorf("offset %d: %v", at, err)
			}
		}
	}
	for _, at := range []uint64{h + 1, 7, 1<<64 - 1} {
		if _, err := s.Bytes(at); !errors.Is(err, ErrHandle) {
			t.Errorf("handle %d: %v", at, err)
		}
		if err := s.ErrorSet(at); !errors.Is(err, ErrHandle) {
			t.Errorf("handle %d: %v", at, err)
		}
		s.Free(at)
	}
	if _, err := s.InputLoadU8(8); !errors.Is(err, ErrHandle) {
		t.Error(err)
	}
	if err := s.OutputSet(h, 1<<64-1); !errors.Is(err, ErrHandle) {
		t.Error(err)
	}
}

// FuzzStore runs a program of operations, two bytes each, against the store: nothing panics, and blocks stay apart.
func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 8, 0, 16, 1, 8, 2, 8, 3, 9, 0, 255})
	f.Fuzz(func(t *testing.T, program []byte) {
		var s Store
		program = program[:min(len(program), 200)]
		s.Reset(program)
		for ; len(program) >= 2; program = program[2:] {
			v := uint64(program[1]) * 3
			switch program[0] % 8 {
			case 0:
				s.Alloc(v)
			case 1:
				s.Free(v)
			case 2:
				_ = s.StoreU64(v, v)
			case 3:
				_, _ = s.LoadU64(v)
			case 4:
				_ = s.OutputSet(v, v/2)
			case 5:
				_ = s.ErrorSet(v)
			case 6:
				s.InputOffset()
			case 7:
				s.Put(program)
			}
			end := uint64(first)
			for _, b := range s.blocks {
				if b.at < end || b.at+b.size > uint64(len(s.bytes)) {
					t.Fatalf("blocks %v in %d bytes", s.blocks, len(s.bytes))
				}
				end = b.at + b.size
			}
			_, _ = s.Output(), s.Error()
		}
	})
}

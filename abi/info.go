package abi

import "fmt"

const infoHead = 32

const (
	flagTransactional = 1
	flagFetch         = 2
)

// NullString is a string that may be absent.
type NullString struct {
	String string
	Valid  bool // false = absent; String is then empty
}

// Info says where a batch comes from.
type Info struct {
	Topic         string
	Partition     int32 // -1 where unknown
	ProducerID    int64 // -1 where there is none
	Transactional bool
	Fetch         bool // on fetch; otherwise on produce
	ClientID      NullString
	Principal     NullString
}

// InfoSize returns what [AppendInfo] appends, in bytes.
func InfoSize(i *Info) int {
	return infoHead + len(i.Topic) + len(i.ClientID.String) + len(i.Principal.String)
}

// AppendInfo appends the encoding of sluice:batch/1 info.
func AppendInfo(dst []byte, i *Info) []byte {
	flags := uint32(0)
	if i.Transactional {
		flags |= flagTransactional
	}
	if i.Fetch {
		flags |= flagFetch
	}
	dst = appendU32(dst, uint32(InfoSize(i)))
	dst = appendU32(dst, uint32(i.Partition))
	dst = le.AppendUint64(dst, uint64(i.ProducerID))
	dst = appendU32(dst, flags)
	dst = appendU32(dst, uint32(len(i.Topic)))
	dst = appendU32(dst, uint32(i.ClientID.len()))
	dst = appendU32(dst, uint32(i.Principal.len()))
	dst = append(dst, i.Topic...)
	dst = append(dst, i.ClientID.String...)
	return append(dst, i.Principal.String...)
}

func (s *NullString) len() int32 {
	if !s.Valid {
		return -1
	}
	return int32(len(s.String))
}

// DecodeInfo decodes b whole into i. The strings of i are views of b: they
// are valid as long as b is left alone.
func DecodeInfo(b []byte, i *Info) error {
	r := reader{b: b}
	size := r.u32()
	i.Partition = int32(r.u32())
	i.ProducerID = int64(r.u64())
	flags := r.u32()
	i.Transactional, i.Fetch = flags&flagTransactional != 0, flags&flagFetch != 0
	topicLen, clientLen, principalLen := r.u32(), int32(r.u32()), int32(r.u32())
	i.Topic = view(r.bytes(topicLen))
	i.ClientID = r.nullString(clientLen)
	i.Principal = r.nullString(principalLen)
	if r.bad || len(r.b) != 0 || uint64(size) != uint64(len(b)) || flags&^(flagTransactional|flagFetch) != 0 {
		return fmt.Errorf("decode info of %d bytes: %w", len(b), ErrMalformed)
	}
	return nil
}

func (r *reader) nullString(n int32) NullString {
	b := r.nullable(n)
	return NullString{String: view(b), Valid: b != nil}
}

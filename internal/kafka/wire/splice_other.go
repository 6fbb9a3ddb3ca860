//go:build !linux

package wire

import (
	"errors"
	"math"
	"net"
)

// spliceMin is not used: this system copies.
const spliceMin = math.MaxInt32

// rawConn is empty: connections are used through net.Conn alone.
type rawConn struct{ ok bool }

func (*rawConn) init(net.Conn)                {}
func (*rawConn) read(*Reader) (int, error)    { return 0, errors.ErrUnsupported }
func (*rawConn) readInto([]byte) (int, error) { return 0, errors.ErrUnsupported }

// splice leaves everything to be copied.
func (r *Reader) splice(_ *Writer, rest int) (int, error) { return rest, nil }

// pipe does not exist here.
type pipe struct{}

func newPipe(int) (*pipe, error) { return nil, errors.ErrUnsupported }
func (*pipe) close()             {}

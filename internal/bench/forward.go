package main

import (
	"io"
	"net"
)

// forward is the floor of the comparison: a forwarder that parses nothing
// and leaves every byte to the kernel's splice where both ends are plain
// TCP. It serves until the process ends.
func forward(bind, to string) error {
	l, err := net.Listen("tcp", bind)
	if err != nil {
		return err
	}
	for {
		client, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer server.Close()
			go func() {
				io.Copy(server, client)
				server.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(client, server)
		}()
	}
}

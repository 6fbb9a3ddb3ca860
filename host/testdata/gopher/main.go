// Gopher is a guest for tests: it does with Go's runtime what a record's value says, and answers with a reject.
package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	sluice "github.com/sluicegate/sluice/sdk/go"
)

func init() { sluice.Register(process) }

func main() { sluice.Main() }

// hoard keeps what a record asked to be eaten.
var hoard [][]byte

func process(b *sluice.Batch) error {
	for r := range b.Records(sluice.FieldValue) {
		what, arg, _ := strings.Cut(string(r.Value), " ")
		switch what {
		case "now":
			r.Reject(time.Now().UTC().Format(time.RFC3339Nano))
		case "sleep":
			start := time.Now()
			time.Sleep(time.Hour)
			r.Reject(fmt.Sprint(time.Since(start) >= time.Hour))
		case "race":
			c := make(chan int)
			for i := range 10 {
				go func() { c <- i }()
			}
			sum := 0
			for range 10 {
				sum += <-c
			}
			r.Reject(fmt.Sprint(sum))
		case "world":
			_, file := os.ReadFile("/etc/passwd")
			n, read := os.Stdin.Read(make([]byte, 1))
			r.Reject(fmt.Sprint(len(os.Args), len(os.Environ()), file != nil, n, read))
		case "random":
			r.Reject(rand.Text())
		case "print":
			fmt.Println("out", arg)
			fmt.Fprint(os.Stderr, "err ", arg)
		case "panic":
			panic(arg)
		case "exit":
			os.Exit(7)
		case "error":
			return fmt.Errorf("no %s", arg)
		case "eat":
			for {
				hoard = append(hoard, make([]byte, 1<<20))
			}
		case "loop":
			for {
			}
		case "recurse":
			r.Reject(fmt.Sprint(recurse(1)))
		case "deadlock":
			<-make(chan int)
		}
	}
	return nil
}

func recurse(n int) int {
	if n == 0 {
		return 0
	}
	return recurse(n+1) + 1
}

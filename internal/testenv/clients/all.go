package clients

import (
	"testing"

	"github.com/sluicegate/sluice/internal/testenv"
)

// All returns every client, or those that the machine has. Drivers end with the
// test. libs is the directory of Apache Kafka's jars; without it there are no
// Java clients.
func All(t testing.TB, libs string) []Client {
	t.Helper()
	cs := []Client{&Franz{}, &Kcat{Path: testenv.Need(t, "kcat")}}
	python, err := NewPython(testenv.NeedPython(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(python.Close)
	cs = append(cs, python)
	if libs == "" {
		return cs
	}
	java, err := NewJava(libs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(java.Close)
	return append(cs, java, &Console{Libs: libs, Dir: t.TempDir()})
}

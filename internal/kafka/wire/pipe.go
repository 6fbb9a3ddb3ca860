package wire

// DefaultMaxPipes is the number of splice pipes that a process keeps unless
// [SetMaxPipes] says otherwise. Each is 1 MiB, and an unprivileged user may
// have 64 MiB in pipes by default (fs.pipe-user-pages-soft).
const DefaultMaxPipes = 32

// SetMaxPipes sets how many pipes the process uses for splicing at the same
// time; 0 turns splicing off. Connections that find none free copy instead.
func SetMaxPipes(n int) { panic("todo") }

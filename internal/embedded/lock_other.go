//go:build !unix

package embedded

import "os"

// lockFile only opens path: there is no lock here that ends with the process.
func lockFile(path string) (*os.File, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }

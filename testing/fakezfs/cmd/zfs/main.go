// Command zfs is the zfs and zpool of a fakezfs system, for tests that need a program in PATH.
package main

import "github.com/zferry/zferry/testing/fakezfs"

func main() { fakezfs.Command() }

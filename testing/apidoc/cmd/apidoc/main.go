// Command apidoc writes docs/openrpc.json to standard output.
package main

import (
	"fmt"
	"os"

	"github.com/zferry/zferry/testing/apidoc"
)

func main() {
	text, err := apidoc.Document()
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

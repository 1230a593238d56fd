module github.com/zferry/zferry

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/skeema/knownhosts v1.3.3 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

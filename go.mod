module github.com/zferry/zferry

go 1.26

module github.com/roamkey/roamkey

go 1.25.0

require (
	github.com/mdlayher/ndp v1.1.0
	github.com/mdlayher/netlink v1.11.2
	golang.org/x/crypto v0.54.0
	golang.org/x/net v0.56.0
	golang.org/x/sys v0.47.0
)

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/mdlayher/socket v0.6.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/text v0.40.0 // indirect
)

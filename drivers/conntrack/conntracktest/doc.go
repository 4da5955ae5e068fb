// Package conntracktest makes the kernel track connections, for tests of what deletes them.
package conntracktest

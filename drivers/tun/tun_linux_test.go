package tun

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTUNFailsWithoutADevice(t *testing.T) {
	err := explain(unix.ENOENT)
	if err == nil || !strings.Contains(err.Error(), "module tun") {
		t.Errorf("no /dev/net/tun: %v", err)
	}
	if err := explain(unix.EACCES); !strings.Contains(err.Error(), "read and write") {
		t.Errorf("no right to /dev/net/tun: %v", err)
	}
}

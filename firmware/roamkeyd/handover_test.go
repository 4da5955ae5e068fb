package main

import (
	"strings"
	"testing"
)

func TestHandoverCommand(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"handover"}, 2, "name the node's address"},
		{[]string{"handover", "192.0.2.1"}, 2, "not the IPv6 address of a node"},
		{[]string{"handover", "2001:db8:1::9", "02-00-00-00-02-01"}, 2, "six pairs of hexadecimal digits"},
		{[]string{"handover", "2001:db8:1::9", "02:00:00:00:02:01", "--socket", dir + "/none"}, 1, "roamkeyd does not run"},
	} {
		if got := roamkeyd(t, dir, c.args...); got.code != c.code || !strings.Contains(unwrapped(got.err), c.says) {
			t.Errorf("%v: %+v", c.args, got)
		}
	}
}

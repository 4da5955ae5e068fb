package main

import (
	"strings"
	"testing"
)

// called runs the program and gives its exit code and what it wrote.
func called(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestVersionNeedsNothing(t *testing.T) {
	if code, out, _ := called(t, "--version"); code != 0 || !strings.HasPrefix(out, "roamkey-mn ") {
		t.Errorf("exit code %d, %q", code, out)
	}
}

func TestWrongCallsSayWhatWouldBeRight(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "roamkey-mn attach"},
		{[]string{"fly"}, `no command "fly"`},
		{[]string{"attach", "-nonesuch"}, "-nonesuch"},
		{[]string{"attach", "wlan0"}, "is no option"},
		{[]string{"attach", "-interface", "x", "-home-agent", "nowhere"}, "nowhere"},
		{[]string{"attach", "-interface", "x", "-codepoints", "a=1"}, "no code point"},
		{[]string{"move"}, "-interface"},
		{[]string{"status", "extra"}, "is no option"},
		{[]string{"move", "-interface", "x", "-predictive"}, "-access-point"},
		{[]string{"move", "-interface", "x", "-predictive", "-reactive", "-access-point", "02:00:00:00:00:01"}, "either"},
		{[]string{"move", "-interface", "x", "-access-point", "02:00:00:00:00:01"}, "-predictive"},
		{[]string{"move", "-interface", "x", "-predictive", "-access-point", "wlan1"}, "no access point's address"},
		{[]string{"move", "-interface", "x", "-predictive", "-access-point", "01:00:00:00:00:01"}, "no access point's address"},
	} {
		code, out, errs := called(t, c.args...)
		if code != 2 || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("%v: exit code %d, says %q, %q", c.args, code, errs, out)
		}
	}
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"attach"}, "no interface"},
		{[]string{"attach", "-interface", "nonesuch0"}, "nonesuch0"},
		{[]string{"attach", "-interface", "lo", "-home-agent", "2001:db8::1"}, "home address"},
		{[]string{"status", "-interface", "nonesuch0"}, "no node is attached"},
		{[]string{"move", "-interface", "nonesuch0"}, "no interface"},
		{[]string{"move", "-interface", "nonesuch0", "-predictive", "-access-point", "02:00:00:00:00:01"}, "no node is attached"},
		{[]string{"attach", "-interface", "lo", "-protocol", "wep"}, "no protocol"},
		{[]string{"attach", "-interface", "lo", "-secured-only"}, "handover-key"},
		{[]string{"attach", "-interface", "lo", "-protocol", "handover-key", "-plain"}, "of Local Key Exchange"},
		{[]string{"attach", "-interface", "lo", "-protocol", "handover-key", "-sec", "2"}, "0 or 1"},
		{[]string{"attach", "-interface", "nonesuch0", "-protocol", "handover-key"}, "nonesuch0"},
	} {
		code, _, errs := called(t, c.args...)
		if code != 1 || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit code %d, says %q", c.args, code, errs)
		}
	}
}

func TestHelpFitsTheConsole(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"attach", "-h"}, {"move", "-h"}, {"bench", "-h"}} {
		_, out, errs := called(t, args...)
		for line := range strings.Lines(out + errs) {
			if n := len(strings.TrimRight(strings.ReplaceAll(line, "\t", "        "), "\n")); n > 80 {
				t.Errorf("%v: %d columns: %s", args, n, line)
			}
		}
	}
}

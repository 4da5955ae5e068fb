package daemon

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/firmware/journal"
)

// bootTime is the cores' clock: the time since the kernel started, which never jumps, goes on in suspend, and means the same
// to the next process. It is written as a time after the zero of Unix time, so that the zero Time still means never.
func bootTime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // every kernel since 2.6.39 has it
	}
	return time.Unix(0, ts.Nano())
}

// bootID reads the identifier of this boot of the kernel, without which the journal's deadlines mean nothing.
func bootID() (journal.BootID, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return journal.BootID{}, fmt.Errorf("read the kernel's boot identifier: %w", err)
	}
	var id journal.BootID
	digits := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if n, err := hex.Decode(id[:], []byte(digits[:min(len(digits), 2*len(id))])); n != len(id) || err != nil {
		return journal.BootID{}, fmt.Errorf("boot identifier %q is not a UUID", text)
	}
	return id, nil
}

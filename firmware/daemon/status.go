package daemon

import (
	"context"

	"github.com/roamkey/roamkey/mipsec/lke"
	"golang.org/x/sys/unix"
)

type events struct{}

func (d *Daemon) publish(lke.Event) {}

func (d *Daemon) serveControl(ctx context.Context) (end func(), err error) { return func() {}, nil }

// nodeLimit is how many home addresses are served at one time.
func (d *Daemon) nodeLimit() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return d.config.Global.NodeLimit(0)
	}
	return d.config.Global.NodeLimit(uint64(info.Totalram) * uint64(info.Unit))
}

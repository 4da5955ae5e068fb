package main

import (
	"time"
)

// settle is how long the daemon may take to give back what is not in use any more.
const settle = 8 * time.Second

// manyNodes is for how many associations memory is measured.
const manyNodes = 10_000

// memory measures what the daemon takes when idle and for each association. The key is short: its size is not measured here.
func memory(f *figures, n *network, binary string) error {
	d, err := n.start(binary, 1024, false)
	if err != nil {
		return err
	}
	defer d.Kill()
	time.Sleep(time.Second)
	idle, err := d.resident()
	if err != nil {
		return err
	}
	f.atMost("rss_idle", float64(idle)/(1<<20), "MiB", 12)
	all, err := nodes(0, manyNodes, &d.Key.PublicKey, n)
	if err != nil {
		return err
	}
	if err := n.associate(d, all, 2*time.Minute); err != nil {
		return err
	}
	time.Sleep(settle) // Go gives memory back bit by bit that only the exchanges needed
	full, err := d.resident()
	if err != nil {
		return err
	}
	f.atMost("rss_per_lbsa", float64(full-idle)/manyNodes, "octets", 1500)
	return nil
}

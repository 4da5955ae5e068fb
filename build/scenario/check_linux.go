package scenario

import "github.com/roamkey/roamkey/build/netlab"

// Check tells early, and in one line, what a run would fail for.
func Check(tunnel string) error {
	if tunnel == "kernel" {
		return nil
	}
	lab := netlab.New()
	defer lab.Close()
	ns, err := lab.Namespace("probe")
	if err != nil {
		return err
	}
	return ns.CheckTUN()
}

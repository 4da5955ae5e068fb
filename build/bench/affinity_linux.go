package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepOff keeps every thread of this process off processor 0, which the measured programs have to themselves, until the
// returned function is called. On a machine with one processor it changes nothing.
func keepOff() (undo func(), err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	others := all
	others.Clear(0)
	if others.Count() == 0 {
		return func() {}, nil
	}
	if err := setAffinity(&others); err != nil {
		return nil, err
	}
	return func() { _ = setAffinity(&all) }, nil
}

// setAffinity moves all threads; those that are started later take it from them.
func setAffinity(set *unix.CPUSet) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

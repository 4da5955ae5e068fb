// Command roamkey-mn is the reference mobile node. With Local Key Exchange it agrees on a key with each access router that
// it is at, and after a move has the last one forward its traffic; with SEND and handover keys it can have the move
// prepared, so that nothing is lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "development"

const usage = `roamkey-mn is a mobile node that keeps its traffic when it changes routers.

  roamkey-mn attach -interface wlan0 [options]
      stay attached by the interface, and follow it from router to router
  roamkey-mn move -interface wlan0
      the link is another one: tell the node that is attached by it; without
      one, say which router the link has
  roamkey-mn move -interface wlan0 -predictive -access-point 02:00:00:00:00:01
      have the move there prepared, and tell when to leave (needs a node that
      is attached with -protocol handover-key)
  roamkey-mn status -interface wlan0 [-json]
      what the node that is attached has
  roamkey-mn bench -interface eth1 -nodes 1000 [options]
      play many nodes, to load a router
  roamkey-mn --version

Each takes -h. All need CAP_NET_ADMIN and CAP_NET_RAW, as root has them.
`

// errUsage says that the words for people were written already.
var errUsage = errors.New("usage")

func main() {
	// A terminal that went away is no reason to leave the interface as it is.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: 0 if all went well, 1 if not, 2 if it was called wrongly.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"attach": attach, "move": move, "status": status, "bench": bench,
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "--version", "-version", "version":
		fmt.Fprintln(out, "roamkey-mn", version)
		return 0
	case "-h", "--help", "-help", "help":
		fmt.Fprint(out, usage)
		return 0
	}
	command := commands[name]
	if command == nil {
		if name != "" {
			fmt.Fprintf(errs, "roamkey-mn: there is no command %q\n\n", name)
		}
		fmt.Fprint(errs, usage)
		return 2
	}
	err := command(ctx, args[1:], out, errs)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintf(errs, "roamkey-mn: %v\n", err)
	return 1
}

// flags gives a flag set of a command, and what reads its arguments.
func flags(name, about string, errs io.Writer) (*flag.FlagSet, func(args []string) error) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(errs)
	f.Usage = func() {
		fmt.Fprintf(errs, "roamkey-mn %s [options]: %s\n\n", name, about)
		f.PrintDefaults()
	}
	return f, func(args []string) error {
		switch err := f.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return err
		case err != nil:
			return errUsage
		case f.NArg() > 0:
			fmt.Fprintf(errs, "roamkey-mn %s: %q is no option; -h lists them\n", name, f.Arg(0))
			return errUsage
		}
		return nil
	}
}

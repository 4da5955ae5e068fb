package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/daemon"
)

func runCommand() command {
	return command{
		name:    "run",
		summary: "serve the links, in the foreground",
		details: `Signals:
  TERM, INT      end: say goodbye to the links, end all forwarding
  USR2           end for a restart or an upgrade: leave forwarding and journal
                 as they are, for the next roamkeyd to go on
  HUP            read the settings anew, without losing a node

It needs CAP_NET_ADMIN and CAP_NET_RAW, and drops or gains none itself. Messages
go to the standard error, one a line.`,
		run: (*program).serve,
	}
}

func (p *program) serve(c *command, args []string) int {
	o := newOptions(c)
	if _, code, done := p.read(o, args, 0); done {
		return code
	}
	settings, err := config.Load(o.config)
	if err != nil {
		p.tell("error: ", err)
		return exitFailed
	}
	var level slog.LevelVar
	level.Set(settings.Global.LogLevel)
	log := slog.New(control.NewLogHandler(p.stderr, &level, isTerminal(p.stderr)))
	for _, w := range settings.Warnings {
		log.Warn(w.Error())
	}
	if err := noCore(); err != nil {
		log.Warn("a crash may write keys to a core file", "err", err)
	}
	if _, err := os.Lstat(settings.Global.LKEKey); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(p.stderr, "error: there is no key %s: make one with roamkeyd keygen\n", settings.Global.LKEKey)
		return exitFailed
	}
	ctx, reload, how, stop := signals()
	defer stop()
	err = daemon.Run(ctx, daemon.Options{Config: settings, ConfigPath: o.config, Log: log, Level: &level, Version: p.version}, reload, how)
	if err != nil && !errors.Is(err, context.Canceled) {
		p.tell("error: ", err)
		return exitFailed
	}
	return exitOK
}

// tell writes an error for a log: a line for each of several, none of them wrapped.
func (p *program) tell(level string, err error) {
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, problem := range problems {
			fmt.Fprintln(p.stderr, level+problem.Error())
		}
		return
	}
	fmt.Fprintln(p.stderr, level+err.Error())
}

// signals gives a context that ends with TERM, INT or USR2, a value for each HUP, and which way to end was asked for. After
// the first signal a second one ends the process at once.
func signals() (ctx context.Context, reload <-chan os.Signal, how func() daemon.Stop, stop func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	var restart atomic.Bool
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case s := <-end:
			restart.Store(s == syscall.SIGUSR2)
			signal.Stop(end)
			cancel()
		case <-ctx.Done():
		}
	}()
	how = func() daemon.Stop {
		if restart.Load() {
			return daemon.StopForRestart
		}
		return daemon.StopReal
	}
	return ctx, hup, how, func() {
		cancel()
		signal.Stop(end)
		signal.Stop(hup)
	}
}

// noCore keeps the keys in memory out of core files, and away from debuggers of the same user.
func noCore() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}

// isTerminal tells whether a person reads what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

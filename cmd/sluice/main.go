// Command sluice is a gateway for Apache Kafka that runs WebAssembly middlewares, and the tools around it: a demo, a
// small producer and consumer, a check for configurations, and the builder for plugins.
//
// "sluice help" lists the commands; each explains itself with "sluice help COMMAND".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/sluicegate/sluice/internal/config"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run(os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes. They are part of the interface: see help.go.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 3
	exitRefused = 4
)

// A command is one row of the table that run looks into.
type command struct {
	name    string // "config check"
	args    string // what follows the flags in the usage line
	summary string // one line
	help    string // paragraphs and examples
	// setup declares flags and returns what runs with them.
	setup func(fs *flag.FlagSet) func(ctx context.Context, e *env, args []string) error
}

// env is the world of a command.
type env struct {
	program  string // how it was called
	in       io.Reader
	out, err io.Writer
	hangup   <-chan os.Signal // SIGHUP
}

// commands in the order of the help.
func commands() []*command {
	return []*command{
		runCommand, demoCommand, produceCommand, consumeCommand,
		configCheckCommand, pluginBuildCommand, pluginInspectCommand, versionCommand,
	}
}

// errUsage marks errors in how a command was called.
var errUsage = errors.New("usage")

// usage returns an error that leads to exit code 2 and a pointer to the help.
func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// errRefused says that a broker or the gateway refused records.
var errRefused = errors.New("refused")

func run(program string, args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) == 0 {
		overview(errOut, program)
		return exitUsage
	}
	if isHelp(args[0]) {
		return help(program, args[1:], out, errOut)
	}
	cmd, rest := find(args)
	if cmd == nil {
		fmt.Fprintf(errOut, "%s: there is no command %q%s\nRun \"%s help\" for the list.\n", program, strings.Join(args[:min(len(args), 2)], " "), similar(args[0]), program)
		return exitUsage
	}

	fs := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	action := cmd.setup(fs)
	positional, err := parse(fs, rest)
	if errors.Is(err, flag.ErrHelp) {
		commandHelp(out, program, cmd)
		return exitOK
	}
	if err != nil {
		err = usage("%v", err)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		err = action(ctx, &env{program, in, out, errOut, hangup}, positional)
	}
	return report(program, cmd, err, errOut)
}

// parse reads flags wherever they stand, before and after other arguments; "--" ends them.
func parse(fs *flag.FlagSet, args []string) (positional []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return positional, nil
		}
		if ended := len(args) - len(rest); ended > 0 && args[ended-1] == "--" {
			return append(positional, rest...), nil
		}
		positional = append(positional, rest[0])
		args = rest[1:]
	}
}

// report prints what went wrong and returns the exit code.
func report(program string, cmd *command, err error, errOut io.Writer) int {
	var problems config.Problems
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintln(errOut, problems.Error())
		n := "1 problem"
		if len(problems) != 1 {
			n = fmt.Sprintf("%d problems", len(problems))
		}
		fmt.Fprintf(errOut, "%s %s: %s in the configuration\n", program, cmd.name, n)
		return exitConfig
	case errors.Is(err, errUsage):
		text := strings.TrimPrefix(err.Error(), errUsage.Error()+": ")
		fmt.Fprintf(errOut, "%s %s: %s\nRun \"%s help %s\" for how it is used.\n", program, cmd.name, text, program, cmd.name)
		return exitUsage
	}
	fmt.Fprintf(errOut, "%s %s: %v\n", program, cmd.name, err)
	switch {
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.Is(err, errUnusable), errors.Is(err, config.ErrRead):
		return exitConfig
	}
	return exitFailure
}

// find returns the command that args begin with, and the rest.
func find(args []string) (*command, []string) {
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == c.name {
			return c, args[len(words):]
		}
	}
	return nil, nil
}

// similar points to the commands that share a first word with what was typed.
func similar(word string) string {
	var names []string
	for _, c := range commands() {
		if first, _, _ := strings.Cut(c.name, " "); first == word || strings.HasPrefix(c.name, word) {
			names = append(names, c.name)
		}
	}
	if names == nil {
		return ""
	}
	return ": did you mean " + strings.Join(names, " or ") + "?"
}

func isHelp(arg string) bool {
	return arg == "help" || arg == "-h" || arg == "-help" || arg == "--help"
}

func help(program string, args []string, out, errOut io.Writer) int {
	switch {
	case len(args) == 0:
		overview(out, program)
		return exitOK
	case args[0] == "exit-codes":
		fmt.Fprint(out, exitCodes)
		return exitOK
	case args[0] == "environment":
		fmt.Fprint(out, environment)
		return exitOK
	}
	if cmd, _ := find(args); cmd != nil {
		commandHelp(out, program, cmd)
		return exitOK
	}
	fmt.Fprintf(errOut, "%s: there is no help for %q%s\n", program, strings.Join(args, " "), similar(args[0]))
	return exitUsage
}

func overview(w io.Writer, program string) {
	fmt.Fprintf(w, "Sluice: a gateway for Apache Kafka that runs WebAssembly middlewares.\n\nUsage: %s COMMAND [flags]\n\nCommands:\n", program)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(tw, "  %s\t%s\n", c.name, c.summary)
	}
	_ = tw.Flush()
	fmt.Fprintf(w, `
More:
  %[1]s help COMMAND       what it does, its flags, examples
  %[1]s help exit-codes    what the exit codes mean
  %[1]s help environment   settings from environment variables

New here? Run "%[1]s demo".
`, program)
}

func commandHelp(w io.Writer, program string, cmd *command) {
	fs := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	cmd.setup(fs)
	line := program + " " + cmd.name
	if cmd.args != "" {
		line += " " + cmd.args
	}
	fmt.Fprintf(w, "%s\n\nUsage: %s\n\n%s\n", cmd.summary, line, strings.TrimSpace(strings.ReplaceAll(cmd.help, "{sluice}", program)))
	var flags strings.Builder
	fs.VisitAll(func(f *flag.Flag) { flagHelp(&flags, f) })
	if flags.Len() > 0 {
		fmt.Fprintf(w, "\nFlags:\n%s", flags.String())
	}
}

// flagHelp prints one flag on a line, and its text below.
func flagHelp(w io.Writer, f *flag.Flag) {
	name, text := flag.UnquoteUsage(f)
	dash := "-"
	if len(f.Name) > 1 {
		dash = "--"
	}
	fmt.Fprintf(w, "  %s%s", dash, f.Name)
	if name != "" {
		fmt.Fprintf(w, " %s", name)
	}
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
		text += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(w, "\n        %s\n", strings.ReplaceAll(text, "\n", "\n        "))
}

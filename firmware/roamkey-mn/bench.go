package main

import (
	"context"
	"errors"
	"io"
)

func bench(ctx context.Context, args []string, out, errs io.Writer) error {
	return errors.New("bench is not there yet")
}

// Package sysctl changes settings of the kernel for a time: it remembers what was there before and puts that back.
package sysctl

// Package config turns the UCI text of /etc/config/roamkey into validated settings.
//
// Parse reports every error of a file at once, each with its line, what is wrong and what would be right, so that nobody
// has to find them one by one. Every option has one row in a table (a name, a default in the file's own form, and the
// function that reads it), and reference.conf describes each of them; a test holds the two together. Durations are
// written in seconds, or with one of the units ms, s, m, h and d.
//
// The package reads files and nothing else; what a machine really has is compared with the settings elsewhere.
package config

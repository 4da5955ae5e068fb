// Package picture draws a handover as SVG: packets over time, where the gap went, and the ladder of messages.
package picture

// Package replication is the engine: it compares two systems that hold ZFS, plans which streams bring one up to date with
// the other, and runs the plan. Planning is pure; snapshots are matched by GUID and ordered by the source's createtxg.
package replication

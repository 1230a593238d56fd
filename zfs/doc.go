// Package zfs is the zfs command, typed: it lists, snapshots, sends, receives, sets and destroys, here or on any system
// that a Runner reaches. It is the only place that reads the wording of zfs.
package zfs

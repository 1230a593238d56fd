// Package tasks keeps replication tasks and runs them: what a task may ask for, its state, its runs, and what is started
// again after a crash. It joins store, keychain, jobs and the engine.
package tasks

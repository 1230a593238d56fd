package methods

// Event is an event for the clients that have subscribed to Name and hold one of Roles.
type Event struct {
	Name   string
	Msg    string // added, changed or removed
	ID     int64
	Fields any // nil for removed
	Roles  []string
}

// EventNames are the events that the plugin sends, and who may subscribe.
func EventNames() map[string][]string {
	return map[string][]string{
		"keychaincredential.query": {keychainRead, keychainWrite},
		"replication.query":        {replicationRead, replicationWrite},
	}
}

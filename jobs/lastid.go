package jobs

// LastID is the highest id that was ever given out, 0 if none was.
func (m *Manager) LastID() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastID
}

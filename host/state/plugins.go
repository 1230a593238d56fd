package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Plugin is what is remembered of a plugin.
type Plugin struct {
	Name    string
	Series  int64           // 1, 2, 3 …: the rest that its job ids leave. A plugin keeps it for ever
	Offered json.RawMessage // what the host wants to know of it while it is down
}

// Plugins lists the plugins that ever registered, in the order of their series.
func (s *Store) Plugins(ctx context.Context) ([]Plugin, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, series, offered FROM plugins ORDER BY series")
	if err != nil {
		return nil, fmt.Errorf("plugins: %w", err)
	}
	defer rows.Close()
	var all []Plugin
	for rows.Next() {
		var p Plugin
		var offered string
		if err := rows.Scan(&p.Name, &p.Series, &offered); err != nil {
			return nil, fmt.Errorf("plugins: %w", err)
		}
		p.Offered = json.RawMessage(offered)
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("plugins: %w", err)
	}
	return all, nil
}

// SavePlugin remembers what a plugin offers, and gives a new one the next series, which may be most at the most, or else the
// error is ErrFull. It returns the series.
func (s *Store) SavePlugin(ctx context.Context, name string, offered json.RawMessage, most int64) (series int64, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT series FROM plugins WHERE name = ?", name).Scan(&series)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			err = tx.QueryRowContext(ctx, "SELECT coalesce(max(series), 0) + 1 FROM plugins").Scan(&series)
			if err == nil && series > most {
				return fmt.Errorf("%d plugins: %w", most, ErrFull)
			}
			if err == nil {
				_, err = tx.ExecContext(ctx, "INSERT INTO plugins (name, series, offered) VALUES (?, ?, ?)", name, series, string(offered))
			}
		case err == nil:
			_, err = tx.ExecContext(ctx, "UPDATE plugins SET offered = ? WHERE name = ?", string(offered), name)
		}
		if err != nil {
			return fmt.Errorf("save plugin: %w", err)
		}
		return nil
	})
	return series, err
}

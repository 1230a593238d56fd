package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// Credential is a key pair, a connection or the like. Its attributes are sealed as a whole in the database.
type Credential struct {
	ID         int64 // given by AddCredential, and never again to another one
	Name       string
	Type       string
	Attributes json.RawMessage
}

const credentials = "credentials"

// AddCredential adds a credential and returns its id. It returns ErrExist if the name is taken.
func (s *Store) AddCredential(ctx context.Context, c Credential) (id int64, err error) {
	err = s.write(ctx, "add credential", func(tx *sql.Tx) error {
		if id, err = next(ctx, tx, "credential_id"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO credentials (id, name, type, attributes) VALUES ($1, $2, $3, $4)`,
			id, c.Name, c.Type, s.seal(credentials, id, c.Attributes))
		return err
	})
	return id, err
}

// UpdateCredential replaces a credential. It returns ErrNotFound, or ErrExist if the name is taken.
func (s *Store) UpdateCredential(ctx context.Context, c Credential) error {
	return s.write(ctx, fmt.Sprintf("update credential %d", c.ID), func(tx *sql.Tx) error {
		return change(ctx, tx, `UPDATE credentials SET name = $2, type = $3, attributes = $4 WHERE id = $1`,
			c.ID, c.Name, c.Type, s.seal(credentials, c.ID, c.Attributes))
	})
}

// DeleteCredential removes a credential. It returns ErrNotFound if there is none. Who uses it is the caller's matter.
func (s *Store) DeleteCredential(ctx context.Context, id int64) error {
	return s.write(ctx, fmt.Sprintf("delete credential %d", id), func(tx *sql.Tx) error {
		return change(ctx, tx, `DELETE FROM credentials WHERE id = $1`, id)
	})
}

// Credential returns a credential or ErrNotFound.
func (s *Store) Credential(ctx context.Context, id int64) (Credential, error) {
	what := fmt.Sprintf("credential %d", id)
	rows, err := collect(ctx, s, what, s.scanCredential, `SELECT id, name, type, attributes FROM credentials WHERE id = $1`, id)
	return only(what, rows, err)
}

// Credentials returns all credentials by id.
func (s *Store) Credentials(ctx context.Context) ([]Credential, error) {
	return collect(ctx, s, "list credentials", s.scanCredential, `SELECT id, name, type, attributes FROM credentials ORDER BY id`)
}

func (s *Store) scanCredential(rows *sql.Rows) (c Credential, err error) {
	var sealed string
	if err = rows.Scan(&c.ID, &c.Name, &c.Type, &sealed); err != nil {
		return c, err
	}
	c.Attributes, err = s.unseal(credentials, c.ID, sealed)
	return c, err
}

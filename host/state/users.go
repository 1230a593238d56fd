package state

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// User is someone who may log in.
type User struct {
	ID       int64
	Name     string
	FullName string
	Roles    []string // as they were given; what they contain is the host's matter
}

// Key is an API key without its secret.
type Key struct {
	ID      int64
	Name    string
	Created time.Time
}

// AddUser adds a user and returns it with its id. A name that is taken gives ErrExist.
func (s *Store) AddUser(ctx context.Context, u User) (User, error) {
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		u, err = addUser(ctx, tx, u)
		return err
	})
	return u, err
}

func addUser(ctx context.Context, tx *sql.Tx, u User) (User, error) {
	var taken bool
	if err := tx.QueryRowContext(ctx, "SELECT count(*) > 0 FROM users WHERE name = ?", u.Name).Scan(&taken); err != nil {
		return User{}, fmt.Errorf("add user: %w", err)
	}
	if taken {
		return User{}, fmt.Errorf("user %s %w", u.Name, ErrExist)
	}
	roles, err := json.Marshal(u.Roles)
	if err != nil {
		return User{}, fmt.Errorf("add user: %w", err)
	}
	if u.ID, err = count(ctx, tx, "user_id", 1); err != nil {
		return User{}, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO users (id, name, full_name, roles, created) VALUES (?, ?, ?, ?, ?)",
		u.ID, u.Name, u.FullName, string(roles), time.Now().Unix())
	if err != nil {
		return User{}, fmt.Errorf("add user: %w", err)
	}
	return u, nil
}

// AddKey makes an API key for a user. The text, "<id>-<64 letters and digits>", is returned this once and cannot be had
// again. A user who is not there gives ErrNoUser, a name that this user has for another key ErrExist.
func (s *Store) AddKey(ctx context.Context, user, name string) (key Key, text string, err error) {
	secret := newSecret()
	v, err := newVerifier(secret)
	if err != nil {
		return Key{}, "", err
	}
	err = s.write(ctx, func(tx *sql.Tx) (err error) {
		key, err = addKey(ctx, tx, user, name, v)
		return err
	})
	if err != nil {
		return Key{}, "", err
	}
	return key, keyText(key, secret), nil
}

func keyText(k Key, secret string) string { return strconv.FormatInt(k.ID, 10) + "-" + secret }

func addKey(ctx context.Context, tx *sql.Tx, user, name string, v verifier) (Key, error) {
	var owner int64
	err := tx.QueryRowContext(ctx, "SELECT id FROM users WHERE name = ?", user).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, fmt.Errorf("%s: %w", user, ErrNoUser)
	}
	if err != nil {
		return Key{}, fmt.Errorf("add API key: %w", err)
	}
	var taken bool
	err = tx.QueryRowContext(ctx, "SELECT count(*) > 0 FROM api_keys WHERE user_id = ? AND name = ?", owner, name).Scan(&taken)
	if err != nil {
		return Key{}, fmt.Errorf("add API key: %w", err)
	}
	if taken {
		return Key{}, fmt.Errorf("API key %s of %s %w", name, user, ErrExist)
	}
	k := Key{Name: name, Created: time.Now().Truncate(time.Second)}
	if k.ID, err = count(ctx, tx, "api_key_id", 1); err != nil {
		return Key{}, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO api_keys (id, user_id, name, salt, iterations, stored_key, server_key, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, k.ID, owner, name, encode(v.salt), v.iterations, encode(v.storedKey), encode(v.serverKey), k.Created.Unix())
	if err != nil {
		return Key{}, fmt.Errorf("add API key: %w", err)
	}
	return k, nil
}

// CheckKey tells whose key the text is, or ErrKey. How long it takes says nothing about which ids there are or how much of
// a secret was right.
func (s *Store) CheckKey(ctx context.Context, text string) (User, Key, error) {
	number, secret, _ := strings.Cut(text, "-")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil || len(secret) != secretLength {
		return User{}, Key{}, ErrKey
	}
	user, key, v, err := s.lookUp(ctx, id)
	known := err == nil
	if !known && !errors.Is(err, ErrKey) {
		return User{}, Key{}, err
	}
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return User{}, Key{}, context.Cause(ctx)
	}
	ok, err := v.matches(secret)
	if err != nil {
		return User{}, Key{}, err
	}
	if !ok || !known {
		return User{}, Key{}, ErrKey
	}
	return user, key, nil
}

// lookUp finds a key by its id. For one that is not there it gives ErrKey and a verifier that nothing matches.
func (s *Store) lookUp(ctx context.Context, id int64) (u User, k Key, v verifier, err error) {
	var roles, salt, stored, server string
	var created int64
	err = s.db.QueryRowContext(ctx, `SELECT u.id, u.name, u.full_name, u.roles, k.id, k.name, k.created, k.salt, k.iterations, k.stored_key, k.server_key
		FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.id = ?`, id).
		Scan(&u.ID, &u.Name, &u.FullName, &roles, &k.ID, &k.Name, &created, &salt, &v.iterations, &stored, &server)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, Key{}, verifier{salt: make([]byte, saltBytes), iterations: iterations}, ErrKey
	}
	if err != nil {
		return User{}, Key{}, verifier{}, fmt.Errorf("look up API key: %w", err)
	}
	k.Created = time.Unix(created, 0)
	if v.salt, err = decode(salt); err == nil {
		if v.storedKey, err = decode(stored); err == nil {
			v.serverKey, err = decode(server)
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(roles), &u.Roles)
	}
	if err != nil {
		return User{}, Key{}, verifier{}, fmt.Errorf("API key %d: database of the host %w: %v", id, ErrDamaged, err)
	}
	return u, k, v, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }

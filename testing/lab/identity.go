package lab

import (
	"archive/tar"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// identity is what makes the machines themselves: their keys, and the key of this side.
type identity struct {
	dir      string
	signer   ssh.Signer
	hostKeys [2]ssh.PublicKey
}

func (id *identity) keyFile() string         { return filepath.Join(id.dir, "key") }
func (id *identity) seed(name string) string { return filepath.Join(id.dir, name+".seed") }

// keyPair is a private key in OpenSSH's format and its public half.
type keyPair struct {
	private []byte
	public  ssh.PublicKey
}

func newKeyPair(private crypto.PrivateKey, public any, comment string) (keyPair, error) {
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return keyPair{}, err
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{private: pem.EncodeToMemory(block), public: pub}, nil
}

func newEd25519(comment string) (keyPair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	return newKeyPair(private, public, comment)
}

func newECDSA(comment string) (keyPair, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	return newKeyPair(private, private.Public(), comment)
}

// machineKeys are the host keys of one machine and the key of its root.
type machineKeys struct {
	ed25519, ecdsa, root keyPair
}

func newMachineKeys(name string) (k machineKeys, err error) {
	if k.ed25519, err = newEd25519("root@" + name); err != nil {
		return k, err
	}
	if k.ecdsa, err = newECDSA("root@" + name); err != nil {
		return k, err
	}
	k.root, err = newEd25519("root@" + name)
	return k, err
}

// newIdentity makes all keys and the seed disk of each machine in dir.
func newIdentity(dir string) (*identity, error) {
	own, err := newEd25519("lab")
	if err != nil {
		return nil, err
	}
	var keys [2]machineKeys
	for i, s := range specs() {
		if keys[i], err = newMachineKeys(s.name); err != nil {
			return nil, err
		}
	}
	id := &identity{dir: dir}
	files := map[string][]byte{id.keyFile(): own.private}
	for i, s := range specs() {
		seed, err := makeSeed(i, own, keys)
		if err != nil {
			return nil, err
		}
		files[id.seed(s.name)] = seed
		files[filepath.Join(dir, s.name+".pub")] = ssh.MarshalAuthorizedKey(keys[i].ed25519.public)
	}
	for name, data := range files {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return nil, err
		}
	}
	return readIdentity(dir)
}

func readIdentity(dir string) (*identity, error) {
	id := &identity{dir: dir}
	key, err := os.ReadFile(id.keyFile())
	if err != nil {
		return nil, err
	}
	if id.signer, err = ssh.ParsePrivateKey(key); err != nil {
		return nil, fmt.Errorf("%s: %w", id.keyFile(), err)
	}
	for i, s := range specs() {
		line, err := os.ReadFile(filepath.Join(dir, s.name+".pub"))
		if err != nil {
			return nil, err
		}
		if id.hostKeys[i], _, _, _, err = ssh.ParseAuthorizedKey(line); err != nil {
			return nil, fmt.Errorf("host key of %s: %w", s.name, err)
		}
	}
	return id, nil
}

// makeSeed packs the files that turn the common image into machine number i. A tape archive without a file system
// around it is enough for a disk: its length is a multiple of the block size.
func makeSeed(i int, own keyPair, keys [2]machineKeys) ([]byte, error) {
	s := specs()[i]
	other := keys[1-i].root.public
	authorized := string(ssh.MarshalAuthorizedKey(own.public)) + string(ssh.MarshalAuthorizedKey(other))
	var hosts, known string
	for j, p := range specs() {
		hosts += fmt.Sprintf("%s %s\n%s %s\n", p.addr, p.name, p.addr6, p.name+"-6")
		names := []string{p.name, p.name + "-6", p.addr, p.addr6}
		known += knownhosts.Line(names, keys[j].ed25519.public) + "\n" + knownhosts.Line(names, keys[j].ecdsa.public) + "\n"
	}
	b := &bytes.Buffer{}
	t := &seedWriter{tar: tar.NewWriter(b)}
	t.file("etc/lab.conf", 0o644, 0, fmt.Sprintf("LAB_NAME=%s\nLAB_ADDR=%s\nLAB_ADDR6=%s\n", s.name, s.addr, s.addr6))
	t.file("etc/hostname", 0o644, 0, s.name+"\n")
	t.file("etc/hosts", 0o644, 0, "127.0.0.1 localhost\n::1 localhost\n"+hosts)
	t.file("etc/ssh/ssh_host_ed25519_key", 0o600, 0, string(keys[i].ed25519.private))
	t.file("etc/ssh/ssh_host_ecdsa_key", 0o600, 0, string(keys[i].ecdsa.private))
	t.folder("root/.ssh", 0)
	t.file("root/.ssh/authorized_keys", 0o600, 0, authorized)
	t.file("root/.ssh/known_hosts", 0o600, 0, known)
	t.file("root/.ssh/id_ed25519", 0o600, 0, string(keys[i].root.private))
	t.file("root/.ssh/id_ed25519.pub", 0o644, 0, string(ssh.MarshalAuthorizedKey(keys[i].root.public)))
	for user, uid := range map[string]int{"rep": 1001, "repsudo": 1002} {
		t.folder("home/"+user+"/.ssh", uid)
		t.file("home/"+user+"/.ssh/authorized_keys", 0o600, uid, authorized)
	}
	if t.err == nil {
		t.err = t.tar.Close()
	}
	return b.Bytes(), t.err
}

// seedWriter keeps the first error.
type seedWriter struct {
	tar *tar.Writer
	err error
}

func (w *seedWriter) file(name string, mode int64, owner int, text string) {
	w.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: owner, Gid: owner, Size: int64(len(text))}, text)
}

func (w *seedWriter) folder(name string, owner int) {
	w.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o700, Uid: owner, Gid: owner}, "")
}

func (w *seedWriter) entry(h *tar.Header, text string) {
	if w.err != nil {
		return
	}
	h.ModTime = time.Now()
	if w.err = w.tar.WriteHeader(h); w.err == nil {
		_, w.err = w.tar.Write([]byte(text))
	}
}

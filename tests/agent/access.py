#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may what of vgpu-agent: tokens, certificates, files that hold them, names of hosts, methods, and what is told of it."""
import grp
import http.client
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from agent import AGENT, LIMIT, TOKEN, Agent, certificates, refused, vgpud

READ = 'only-to-look-at-things'
BODY = b'{"name": "x", "quota": 1048576}'


def request(method, path, *headers, body=b'', token=TOKEN, host='localhost'):
    lines = [f'{method} {path} HTTP/1.1'] + ([f'Host: {host}'] if host else []) + ([f'Authorization: Bearer {token}'] if token else [])
    return '\r\n'.join([*lines, *headers, 'Connection: close', '', '']).encode() + body


def status(answer):
    return int(answer.split(b' ', 2)[1]) if answer else 0


def secret(where, name, text, mode=0o600, gid=None):
    path = where / name
    path.write_text(text + '\n')
    path.chmod(mode)
    if gid is not None:
        os.chown(path, -1, gid)
    return path


def test_read_token(d, where):
    """It looks at everything and changes nothing; what was refused, and what was changed by whom, is in the log."""
    path = secret(where, 'read', READ)
    with Agent(d.run, '--read-token-file', str(path)) as a:
        for page in ('/v1/vms', '/v1/openapi.json', '/metrics'):
            assert a.ask(page, token=READ)[0] == 200, page
        assert 'change' in a.json('/v1/assignments', 403, method='POST', body={'name': 'x'}, token=READ)['error']
        assert a.ask('/v1/assignments/one', 'DELETE', token=READ)[0] == 403
        assert a.ask('/v1/assignments', 'POST', {'name': 'logged', 'quota': 1 << 20})[0] == 201
        assert a.ask('/v1/assignments/logged', 'DELETE')[0] == 200
        assert a.ask('/v1/vms', token=READ + 'x')[0] == 401
        def counted():
            return a.metrics()['openvgpu_agent_requests'][1]
        a.until('the answers', lambda: counted().get('401') == 1)
        counts = counted()
        assert counts['403'] == 2 and counts['201'] == 1 and counts['200'] >= 4, counts
    assert 'creation of VM logged from 127.0.0.1 by token: 201' in a.log and 'removal of VM logged from 127.0.0.1 by token: 200' in a.log, a.log
    assert a.log.count('refused: ') == 1 and 'refused: POST /v1/assignments from 127.0.0.1: read token' in a.log, a.log
    assert TOKEN not in a.log and READ not in a.log
    same = secret(where, 'same', TOKEN)
    words = ('--read-token-file', str(same))
    assert 'the same token' in refused(*words, token=TOKEN)[1]


def test_requests(d, a):
    json = 'Content-Type: application/json'
    assert status(a.raw(request('GET', '/v1/vms', f'Authorization: bearer {TOKEN}', token=None))) == 200
    for method, path, allow in (('PUT', '/v1/vms', 'GET, HEAD'), ('DELETE', '/v1/assignments', 'GET, HEAD, POST'), ('PATCH', '/v1/assignments/x', 'DELETE')):
        out = a.raw(request(method, path))
        assert status(out) == 405 and f'\r\nAllow: {allow}\r\n'.encode() in out, out
    head = a.raw(request('HEAD', '/v1/events'), patience=5)
    assert status(head) == 200 and b'text/event-stream' in head and head.endswith(b'\r\n\r\n'), head
    for size in (5000, 30000, 400000):
        out = a.raw(request('POST', '/v1/assignments', json, f'Content-Length: {size}', body=b'y' * size))
        assert status(out) == 413, (size, out[:100])
    assert status(a.raw(request('POST', '/v1/assignments', json, 'Content-Length: 99999999'))) == 413
    for kind in ('', 'text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', 'multipart/form-data; boundary=application/json'):
        out = a.raw(request('POST', '/v1/assignments', *([f'Content-Type: {kind}'] if kind else []), f'Content-Length: {len(BODY)}', body=BODY))
        assert status(out) == 415, (kind, out[:100])
    out = a.raw(request('POST', '/v1/assignments', 'Content-Type: Application/JSON; charset=utf-8', f'Content-Length: {len(BODY)}', body=BODY))
    assert status(out) == 201, out
    assert a.ask('/v1/assignments/x', 'DELETE')[0] == 200


def test_hosts(d):
    """A page of somebody else's, whose name was made to be ours, is told nothing."""
    with Agent(d.run, '--host', 'node1.example', '--host', 'node1') as a:
        for host, expected in (('localhost', 200), ('LocalHost:9842', 200), ('127.0.0.1:1', 200), ('[::1]:9842', 200), ('node1.example', 200),
                               ('NODE1:80', 200), ('evil.example', 421), ('localhost.evil.example', 421), ('node1.example.evil', 421),
                               ('127.0.0.1.evil.example', 421), ('[::1', 421), ('localhost:x', 421), ('[localhost]', 421)):
            for path in ('/metrics', '/healthz'):
                out = a.raw(request('GET', path, token=None, host=host))
                assert status(out) == expected, (host, path, out[:100])
            assert status(a.raw(request('GET', '/metrics', host=host))) == 200, host  # what has the token is no such page
        assert status(a.raw(b'GET /healthz HTTP/1.0\r\n\r\n')) == 200


def shown(a, where, versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), client=None):
    """The subject of the server's certificate and the status of /v1/vms; None: no handshake."""
    context = ssl.create_default_context(cafile=str(where / 'ca.pem'))
    context.check_hostname = False
    context.set_ciphers('ALL:@SECLEVEL=0')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        context.minimum_version, context.maximum_version = versions
    if client:
        context.load_cert_chain(where / f'{client}.pem', where / f'{client}.key')
    c = http.client.HTTPSConnection('127.0.0.1', a.port, timeout=LIMIT, context=context)
    try:
        c.request('GET', '/v1/vms', headers={} if client else {'Authorization': 'Bearer ' + TOKEN})
        subject = dict(x[0] for x in c.sock.getpeercert()['subject'])['commonName']
        return subject, c.getresponse().status
    except (ssl.SSLError, ConnectionError):
        return None
    finally:
        c.close()


def test_tls_versions(a, where):
    V = ssl.TLSVersion
    for version, good in ((V.TLSv1, False), (V.TLSv1_1, False), (V.TLSv1_2, True), (V.TLSv1_3, True)):
        assert shown(a, where, (version, version)) == (('server', 200) if good else None), version


def hang_up(a, what):
    """SIGHUP, and the line it leaves in the log."""
    a.process.send_signal(signal.SIGHUP)
    while True:
        line = a.process.stderr.readline()
        assert line, a.log
        a.log += line
        if what in line:
            return


def renew(where):
    """second.pem and second.key, as server.pem: what an operator has when the certificate ends."""
    def run(*words):
        subprocess.run(['openssl', *words], cwd=where, check=True, capture_output=True, timeout=60)

    run('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=second', '-keyout', 'second.key', '-out', 'second.csr')
    run('x509', '-req', '-in', 'second.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-out', 'second.pem')


def own(*paths):
    for p in paths:
        if os.geteuid() == 0:
            os.chown(p, 65534, -1)


def test_reload():
    """SIGHUP: new certificates, authorities and tokens without an end; of wrong ones the old go on."""
    with vgpud() as d, tempfile.TemporaryDirectory(prefix='agent.') as tmp:
        where = pathlib.Path(tmp)
        where.chmod(0o711)
        certificates(where)
        renew(where)
        read = secret(where, 'read', READ)
        own(*where.iterdir())
        with Agent(d.run, '--tls-certificate', str(where / 'server.pem'), '--tls-key', str(where / 'server.key'), '--tls-client-ca',
                   str(where / 'ca.pem'), '--read-token-file', str(read)) as a:
            own(a.dir.name, pathlib.Path(a.dir.name) / 'token')
            test_tls_versions(a, where)
            assert shown(a, where, client='client') == ('server', 200) and shown(a, where, client='stranger')[1] == 401
            good = {n: (where / n).read_text() for n in ('server.pem', 'server.key', 'ca.pem')}
            (where / 'server.pem').write_text((where / 'second.pem').read_text())
            hang_up(a, 'not the key of')
            assert shown(a, where) == ('server', 200)
            (where / 'server.key').write_text((where / 'second.key').read_text())
            (where / 'read').write_text('short\n')
            hang_up(a, 'at least 16')
            assert shown(a, where) == ('server', 200)
            (where / 'read').write_text(READ + '\n')
            hang_up(a, 'read again')
            assert shown(a, where) == ('second', 200)
            (where / 'server.pem').write_text(good['server.pem'])
            (where / 'server.key').write_text(good['server.key'])
            (where / 'ca.pem').write_text((where / 'other.pem').read_text())
            hang_up(a, 'read again')
            (where / 'ca.pem').write_text(good['ca.pem'])  # the client's, to know the server by
            assert shown(a, where, client='client')[1] == 401 and shown(a, where, client='stranger') == ('server', 200)


def test_wrong_files():
    """Each by its name and with what is wrong; and no process for NVML before."""
    with tempfile.TemporaryDirectory(prefix='agent.') as tmp:
        where = pathlib.Path(tmp)
        certificates(where)
        (where / 'garbage').write_text('not PEM\n' * 9)
        (where / 'garbage').chmod(0o600)

        def no(words, certificate='server.pem', key='server.key', ca=None):
            rc, text = refused('--tls-certificate', str(where / certificate), '--tls-key', str(where / key),
                               *(['--tls-client-ca', str(where / ca)] if ca else []), token=TOKEN)
            assert rc == 1 and words in text and str(where) in text and text.count('\n') == 1, (words, text)
        no('garbage: not a certificate in PEM', certificate='garbage')
        no('garbage: not a private key in PEM', key='garbage')
        no('client.key: not the key of', key='client.key')
        no('garbage: no certificate of an authority', ca='garbage')
        no('nowhere: No such file', key='nowhere')
        (where / 'server.key').chmod(0o644)
        no('server.key: others may read it')


def test_secrets():
    """Root's, for a group of ours to read: as packages make it; a group of others', or one that writes, is refused."""
    assert 'others may read it' in refused(token=TOKEN, mode=0o620)[1] and 'others may read it' in refused(token=TOKEN, mode=0o604)[1]
    if os.geteuid():
        print('not tried: groups of others need root')
        return
    with tempfile.TemporaryDirectory(prefix='agent.') as tmp:
        where = pathlib.Path(tmp)
        where.chmod(0o711)
        strange = next(g.gr_gid for g in grp.getgrall() if g.gr_gid not in (0, 65534) and 'nobody' not in g.gr_mem)
        mine = secret(where, 'mine', TOKEN, 0o640, 65534)
        others = secret(where, 'others', TOKEN, 0o640, strange)
        r = refused('--token-file', str(others))
        assert r[0] == 1 and f'group {strange} may read it' in r[1], r
        with socket.create_server(('127.0.0.1', 0)) as s:  # read, and on to what comes after it
            at = ('--listen', f'127.0.0.1:{s.getsockname()[1]}')
            assert 'in use' in refused('--token-file', str(mine), *at)[1]
            # As its unit does it: not as root, and with no more than the group to read it by.
            r = subprocess.run([str(AGENT), '--token-file', str(mine), *at], capture_output=True, text=True, timeout=LIMIT, user=65534, group=65534,
                               extra_groups=[])
            assert 'in use' in r.stderr, r
            mine.chmod(0o600)
            r = subprocess.run([str(AGENT), '--token-file', str(mine), *at], capture_output=True, text=True, timeout=LIMIT, user=65534, group=65534,
                               extra_groups=[])
            assert 'chmod 640' in r.stderr, r


def test_addresses():
    for text in ('127.0.0.1:+5', '127.0.0.1: 80', ': 80', '[::1:99', '[::1]x:99', '::1]:99', '[127.0.0.1]:99', '127.0.0.1:65536', '127.0.0.1:', ':80',
                 '127.0.0.1:000080', '[]:80', '127.0.0.1:-1'):
        rc, error = refused('--listen', text)
        assert rc == 1 and '--listen: ' in error and 'port ' not in error.replace('ADDRESS:PORT ', ''), (text, error)


def test_warning(d):
    with Agent(d.run, address='0.0.0.0:0') as a:
        assert 'tokens cross the network' in a.log, a.log
    with Agent(d.run) as a:
        assert 'tokens cross' not in a.log, a.log


def main():
    for test in (test_addresses, test_wrong_files, test_secrets, test_reload):
        test()
        print('ok', test.__name__, flush=True)
    with vgpud() as d, tempfile.TemporaryDirectory(prefix='agent.') as tmp:
        d.ok('register-vm', name='one', quota=1 << 20)
        test_read_token(d, pathlib.Path(tmp))
        with Agent(d.run) as a:
            test_requests(d, a)
        test_hosts(d)
        test_warning(d)
        print('ok requests, hosts, read token', flush=True)


if __name__ == '__main__':
    main()

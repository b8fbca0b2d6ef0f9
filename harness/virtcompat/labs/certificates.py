"""Certificates for one run: an authority of its own, a server's and a client's, and a client's of a foreign authority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    """What a key is for. Older libvirt wants encipherment in a server's certificate, whatever its key is."""
    unused = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "crl_sign"), False)
    return x509.KeyUsage(
        digital_signature=not authority, key_encipherment=not authority, key_cert_sign=authority,
        encipher_only=False, decipher_only=False, **unused,
    )  # fmt: skip


def _certificate(
    name: str, issuer: tuple[x509.Name, Key] | None = None, address: str = ""
) -> tuple[x509.Certificate, Key]:
    """A certificate and its key: an authority's where nobody issues it. Good from yesterday, for two days.

    address: with the name that of the host that it is for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issued_by, signed_with = issuer or (_named(name), key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issued_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(_usage(authority=issuer is None), critical=True)
    )
    if issuer is not None:
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if address:
        hosts = [x509.DNSName(name), x509.IPAddress(ip_address(address))]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(signed_with, hashes.SHA256()), key


def _write(file: Path, *certificates: x509.Certificate) -> None:
    text = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)
    file.with_name(f"{file.name}cert.pem").write_bytes(text)


def _private(key: Key) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def write(folder: Path, host: str, address: str) -> None:
    """Fill a folder with two directories as libvirt's ``pkipath`` wants them: ``own`` and ``foreign``.

    host, address: of the server, by name and by IP.
    ``own`` also has the server's. A client with what is in ``foreign`` trusts itself and the server, which does not trust it.
    """
    own, foreign = folder / "own", folder / "foreign"
    authority, key = _certificate("virt-compat authority")
    other, other_key = _certificate("another authority")
    for directory, trusted in ((own, (authority,)), (foreign, (authority, other))):
        directory.mkdir(parents=True)
        _write(directory / "ca", *trusted)
    for file, name, issuer, at in (
        (own / "server", host, (authority.subject, key), address),
        (own / "client", "client", (authority.subject, key), ""),
        (foreign / "client", "stranger", (other.subject, other_key), ""),
    ):
        certificate, own_key = _certificate(name, issuer, at)
        _write(file, certificate)
        file.with_name(f"{file.name}key.pem").write_bytes(_private(own_key))

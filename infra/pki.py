"""The development authority: one certificate and one password per principal, secrets readable by their owner only."""

import ipaddress
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = "Headrace development authority"
RENEW_BEFORE = timedelta(days=30)


class Authority:
    """A certificate authority in a folder; made when it is not there, or not whole."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.file, secret = folder / "ca.pem", folder / "ca.key"
        if not pair(self.file, secret):
            key = ec.generate_private_key(ec.SECP256R1())
            write(secret, pem(key))
            write(self.file, certificate(AUTHORITY, key, None, timedelta(days=3650)).public_bytes(ENCODING), 0o644)
        self._certificate = x509.load_pem_x509_certificate(self.file.read_bytes())
        self._key = private_key(secret)

    def issue(self, folder: Path, name: str) -> None:
        """Gives `name` its credentials in a folder: ca.pem, cert.pem, key.pem, password. What is good stays."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not has_password(folder):
            write(folder / "password", secrets.token_urlsafe(24).encode())
        if self.holds(folder):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        signed = certificate(name, key, (self._certificate, self._key), timedelta(days=365))
        write(folder / "key.pem", pem(key))
        write(folder / "ca.pem", self.file.read_bytes(), 0o644)
        write(folder / "cert.pem", signed.public_bytes(ENCODING), 0o644)

    def holds(self, folder: Path) -> bool:
        """Whether the certificate there is whole, ours, and good for a while."""
        if not pair(folder / "cert.pem", folder / "key.pem"):
            return False
        held = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
        try:
            held.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        trusted = (folder / "ca.pem").exists() and (folder / "ca.pem").read_bytes() == self.file.read_bytes()
        return trusted and held.not_valid_after_utc - RENEW_BEFORE > datetime.now(UTC)


ENCODING = serialization.Encoding.PEM


def has_password(folder: Path) -> bool:
    return (folder / "password").exists() and bool((folder / "password").read_bytes().strip())


def pair(file: Path, secret: Path) -> bool:
    """Whether a certificate and its key are there and belong together."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).public_key() == private_key(secret).public_key()
    except (FileNotFoundError, ValueError):
        return False


def private_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} is no key of ours")
    return key


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    lifetime: timedelta,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer_name, signer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), False)
        .add_extension(usage(authority=issuer is None), True)
    )
    if issuer:
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("localhost"), loopback])
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(names, False).add_extension(both, False)
    return builder.sign(signer_key, hashes.SHA256())


def usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(ENCODING, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file that is never readable by others, not even while it is written."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)

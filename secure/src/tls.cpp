#include "ferry/secure/tls.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>

#include "ferry/platform/assert.hpp"

namespace ferry::secure {

/// OpenSSL's input and output are the channel's: no copy in between.
struct Pipe {
    static TlsChannel& channel(BIO* bio) { return *static_cast<TlsChannel*>(BIO_get_data(bio)); }
    static int read(BIO* bio, char* out, std::size_t size, std::size_t* got) {
        BIO_clear_retry_flags(bio);
        TlsChannel& self = channel(bio);
        if (self.input_.empty()) {
            BIO_set_retry_read(bio);
            return 0;
        }
        *got = std::min(size, self.input_.size());
        std::memcpy(out, self.input_.data(), *got);
        self.input_ = self.input_.subspan(*got);
        return 1;
    }
    static int write(BIO* bio, const char* data, std::size_t size, std::size_t* done) {
        BIO_clear_retry_flags(bio);
        const Bytes bytes = as_bytes(std::string_view(data, size));
        std::vector<std::byte>& out = channel(bio).output_;
        out.insert(out.end(), bytes.begin(), bytes.end());
        *done = size;
        return 1;
    }
    static long control(BIO*, int command, long, void*) {
        return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
    }
    static BIO_METHOD* method() {
        static BIO_METHOD* const made = [] {
            BIO_METHOD* const m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ferry");
            BIO_meth_set_read_ex(m, &Pipe::read);
            BIO_meth_set_write_ex(m, &Pipe::write);
            BIO_meth_set_ctrl(m, &Pipe::control);
            return m;
        }();
        return made;
    }
};

namespace {

constexpr const char* ciphers_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!SHA1";
constexpr std::size_t read_ahead_bytes = 64U << 10;
constexpr unsigned char session_context[] = "ferrymq";

std::string library_reason() {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "no reason is known" : reason;
}

/// A key with a password would stop the program to ask for it.
int no_password(char*, int, int, void*) {
    return 0;
}

SSL_CTX* new_context(const SSL_METHOD* method) {
    SSL_CTX* const context = SSL_CTX_new(method);
    FERRY_ASSERT(context != nullptr, "OpenSSL has memory");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_cipher_list(context, ciphers_1_2);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, read_ahead_bytes);
    SSL_CTX_set_default_passwd_cb(context, &no_password);
    return context;
}

std::string load_pair(SSL_CTX* context, const std::string& certificate, const std::string& key) {
    if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
        return "cannot use the certificate " + certificate + ": " + library_reason();
    if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
        return "cannot use the key " + key + ": " + library_reason();
    if (SSL_CTX_check_private_key(context) != 1)
        return "the key " + key + " does not belong to the certificate " + certificate;
    return {};
}

std::int64_t end_of(const X509* certificate) {
    std::tm time{};
    if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &time) != 1) {
        return 0;
    }
    return timegm(&time);
}

}  // namespace

TlsContext::~TlsContext() {
    SSL_CTX_free(context_);
}

ResultOr<std::shared_ptr<TlsContext>, std::string> TlsContext::server(const ServerFiles& files) {
    std::shared_ptr<TlsContext> made(new TlsContext());
    made->context_ = new_context(TLS_server_method());
    SSL_CTX_set_session_id_context(made->context_, session_context, sizeof session_context - 1);
    if (std::string wrong = load_pair(made->context_, files.certificate, files.key); !wrong.empty())
        return wrong;
    made->expires_at_ = end_of(SSL_CTX_get0_certificate(made->context_));
    if (made->expires_at_ <= std::time(nullptr))
        return "the certificate " + files.certificate + " has expired";
    if (files.client_ca.empty()) return made;
    if (SSL_CTX_load_verify_file(made->context_, files.client_ca.c_str()) != 1)
        return "cannot use the clients' CA " + files.client_ca + ": " + library_reason();
    // So that a client with several certificates knows which one to show.
    SSL_CTX_set_client_CA_list(made->context_, SSL_load_client_CA_file(files.client_ca.c_str()));
    SSL_CTX_set_verify(
        made->context_,
        SSL_VERIFY_PEER | (files.demand_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
    return made;
}

ResultOr<std::shared_ptr<TlsContext>, std::string> TlsContext::client(const ClientFiles& files) {
    std::shared_ptr<TlsContext> made(new TlsContext());
    made->context_ = new_context(TLS_client_method());
    SSL_CTX_set_verify(made->context_, SSL_VERIFY_PEER, nullptr);
    const bool trusts = files.ca.empty()
                            ? SSL_CTX_set_default_verify_paths(made->context_) == 1
                            : SSL_CTX_load_verify_file(made->context_, files.ca.c_str()) == 1;
    if (!trusts) return "cannot use the CA " + files.ca + ": " + library_reason();
    if (files.certificate.empty()) return made;
    if (std::string wrong = load_pair(made->context_, files.certificate,
                                      files.key.empty() ? files.certificate : files.key);
        !wrong.empty()) {
        return wrong;
    }
    return made;
}

// ---- one connection ----

TlsChannel::TlsChannel(std::shared_ptr<TlsContext> context, ssl_st* ssl)
    : context_(std::move(context)), ssl_(ssl) {
    BIO* const bio = BIO_new(Pipe::method());
    FERRY_ASSERT(bio != nullptr, "OpenSSL has memory");
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
}

TlsChannel::~TlsChannel() {
    SSL_free(ssl_);
}

std::unique_ptr<TlsChannel> TlsChannel::accept(std::shared_ptr<TlsContext> context) {
    SSL* const ssl = SSL_new(context->context_);
    FERRY_ASSERT(ssl != nullptr, "OpenSSL has memory");
    SSL_set_accept_state(ssl);
    return std::unique_ptr<TlsChannel>(new TlsChannel(std::move(context), ssl));
}

std::unique_ptr<TlsChannel> TlsChannel::connect(std::shared_ptr<TlsContext> context,
                                                const std::string& host) {
    SSL* const ssl = SSL_new(context->context_);
    FERRY_ASSERT(ssl != nullptr, "OpenSSL has memory");
    SSL_set_connect_state(ssl);
    in6_addr address{};
    const bool numeric = inet_pton(AF_INET, host.c_str(), &address) == 1 ||
                         inet_pton(AF_INET6, host.c_str(), &address) == 1;
    if (numeric) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str());
    } else {
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        SSL_set1_host(ssl, host.c_str());
        SSL_set_tlsext_host_name(ssl, host.c_str());
    }
    return std::unique_ptr<TlsChannel>(new TlsChannel(std::move(context), ssl));
}

void TlsChannel::begin() {
    shake();
}

void TlsChannel::fail(const char* doing) {
    failed_ = true;
    const long verified = SSL_get_verify_result(ssl_);
    error_ = std::string("TLS: ") + doing + ": ";
    if (verified != X509_V_OK) {
        error_ += std::string("the peer's certificate is refused: ") +
                  X509_verify_cert_error_string(verified);
        ERR_clear_error();
    } else {
        error_ += library_reason();
    }
}

bool TlsChannel::shake() {
    if (open_) return true;
    if (failed_) return false;
    ERR_clear_error();
    const std::size_t before = input_.size();
    const int done = SSL_do_handshake(ssl_);
    shaken_bytes_ += before - input_.size();
    if (done == 1) return open_ = true;
    const int why = SSL_get_error(ssl_, done);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        fail("the handshake failed");
    } else if (shaken_bytes_ > handshake_bytes_max) {
        failed_ = true;
        error_ = "TLS: the handshake is too long";
    }
    return false;
}

std::size_t TlsChannel::take(MutableBytes plain) {
    if (failed_ || ended_ || !shake()) return 0;
    ERR_clear_error();
    std::size_t got = 0;
    const int done = SSL_read_ex(ssl_, plain.data(), plain.size(), &got);
    if (done == 1) return got;
    const int why = SSL_get_error(ssl_, done);
    if (why == SSL_ERROR_ZERO_RETURN) {
        ended_ = true;
    } else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        fail("what came cannot be read");
    }
    return 0;
}

bool TlsChannel::seal(Bytes plain) {
    if (failed_ || !open_) return false;
    if (plain.empty()) return true;
    ERR_clear_error();
    std::size_t done = 0;
    if (SSL_write_ex(ssl_, plain.data(), plain.size(), &done) == 1 && done == plain.size())
        return true;
    fail("what is to go cannot be sealed");
    return false;
}

std::string TlsChannel::peer_name() const {
    X509* const certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
    const X509_NAME* const subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return {};
    unsigned char* text = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0) return {};
    std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
    OPENSSL_free(text);
    return name;
}

std::optional<Digest> TlsChannel::binding() const {
    constexpr std::string_view label = "EXPORTER-Channel-Binding";
    Digest out{};
    if (!open_ ||
        SSL_export_keying_material(ssl_, reinterpret_cast<unsigned char*>(out.data()), out.size(),
                                   label.data(), label.size(), nullptr, 0, 0) != 1) {
        return std::nullopt;
    }
    return out;
}

std::string TlsChannel::version() const {
    return SSL_get_version(ssl_);
}

}  // namespace ferry::secure

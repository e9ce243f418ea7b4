#include "native/credentials.hpp"

#include "ferry/wire/verbs.hpp"
#include "native/decode.hpp"

namespace ferry::transport::native {

Answer<std::shared_ptr<Credentials>> Credentials::make(const Security& security, const Url& url) {
    const auto rejected = [](std::string text) {
        return ClientError{Errc::rejected, wire::Code::ok, std::move(text)};
    };
    if (!security.user.empty() && security.password.empty())
        return rejected("user " + security.user + " has no password here");
    if (security.user.empty() && !security.password.empty())
        return rejected("there is a password and no user");
    if (security.by_certificate && security.certificate_file.empty())
        return rejected("signing in by certificate needs one");
    auto made = std::make_shared<Credentials>();
    made->security_ = security;
    if (!url.tls) {
        const bool files = !security.ca_file.empty() || !security.certificate_file.empty();
        if (files) return rejected("certificates are for ferrys:// only");
        return made;
    }
    auto context = secure::TlsContext::client(
        {security.ca_file, security.certificate_file, security.key_file});
    if (!context.ok()) return rejected(context.error());
    made->tls_ = std::move(context).value();
    return made;
}

std::uint32_t Credentials::option_count() const {
    if (!security_.user.empty()) return 2;
    return security_.by_certificate ? 1 : 0;
}

void Credentials::write_options(wire::Encoder& out, const secure::TlsChannel* channel) {
    scram_.reset();
    if (security_.user.empty()) {
        if (security_.by_certificate) out.str("mechanism").str(wire::mechanism_external);
        return;
    }
    const auto binding = channel == nullptr ? std::nullopt : channel->binding();
    scram_ = std::make_unique<secure::ScramClient>(security_.user, security_.password,
                                                   binding ? &*binding : nullptr);
    out.str("mechanism").str(binding ? wire::mechanism_scram_plus : wire::mechanism_scram);
    out.str("initial").str(scram_->first());
}

std::optional<std::string> Credentials::answer(std::string_view challenge) {
    return scram_ == nullptr ? std::nullopt : scram_->answer(challenge);
}

bool Credentials::accepts(Bytes result) {
    if (scram_ == nullptr) return true;
    std::string proof;
    const bool genuine = decode_proof(result, proof) && scram_->proves_itself(proof);
    scram_.reset();
    return genuine;
}

}  // namespace ferry::transport::native

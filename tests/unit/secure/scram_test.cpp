#include <gtest/gtest.h>

#include "ferry/secure/scram.hpp"

namespace ferry::secure {
namespace {

constexpr const char* nonce = "rOprNGfwEbeRWgbNEkqO";

ScramVerifier verifier_of_the_standard() {
    // user "user", password "pencil", as RFC 7677 has them
    ScramVerifier made;
    made.iterations = 4096;
    made.salt = from_base64("W22ZaJ0SNY7soEsUEjb6gQ==").value();
    const Digest salted = pbkdf2_sha256("pencil", made.salt, made.iterations);
    made.stored_key = sha256(hmac_sha256(salted, as_bytes("Client Key")));
    made.server_key = hmac_sha256(salted, as_bytes("Server Key"));
    return made;
}

// One whole attempt. Empty: the broker refused.
std::string attempt(const std::string& password, const ScramVerifier& verifier,
                    const Digest* clients = nullptr, const Digest* brokers = nullptr) {
    ScramClient client("alice", password, clients);
    ScramServer broker;
    if (!broker.begin(client.first(), clients != nullptr, brokers)) return {};
    const auto answer = client.answer(broker.challenge(verifier));
    if (!answer) return {};
    const auto proof = broker.finish(*answer);
    if (!proof) return {};
    EXPECT_TRUE(client.proves_itself(*proof));
    EXPECT_FALSE(client.proves_itself("v=" + base64(Digest{})));
    return broker.user();
}

TEST(Scram, AnswersTheExampleOfTheStandard) {
    ScramClient client("user", "pencil", nullptr, nonce);
    EXPECT_EQ(client.first(), std::string("n,,n=user,r=") + nonce);
    const auto answer = client.answer(
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(*answer,
              "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
              "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    EXPECT_TRUE(client.proves_itself("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
}

// G113
TEST(Scram, LetsInWhoKnowsThePasswordAndNobodyElse) {
    const ScramVerifier verifier = ScramVerifier::of("right");
    EXPECT_EQ(attempt("right", verifier), "alice");
    EXPECT_EQ(attempt("wrong", verifier), "");
    EXPECT_EQ(attempt("", verifier), "");
    const auto secret = random_bytes(32);
    EXPECT_EQ(attempt("right", ScramVerifier::of_nobody("alice", secret)), "");
}

// G113
TEST(Scram, BelongsToOneConnectionWhenItIsBound) {
    const ScramVerifier verifier = ScramVerifier::of("right");
    const Digest one = sha256(as_bytes("one connection"));
    const Digest other = sha256(as_bytes("another one"));
    EXPECT_EQ(attempt("right", verifier, &one, &one), "alice");
    EXPECT_EQ(attempt("right", verifier, &one, &other), "");
    EXPECT_EQ(attempt("right", verifier, &one, nullptr), "");
    EXPECT_EQ(attempt("right", verifier, nullptr, &one), "alice") << "it need not bind";
    ScramServer lied_to;
    EXPECT_FALSE(lied_to.begin("y,,n=alice,r=abc", false, &one));
    EXPECT_TRUE(ScramServer().begin("y,,n=alice,r=abc", false, nullptr));
}

// G113
TEST(Scram, RefusesAnAnswerThatWasGivenToAnotherChallenge) {
    const ScramVerifier verifier = ScramVerifier::of("right");
    ScramClient client("alice", "right", nullptr);
    ScramServer first;
    ASSERT_TRUE(first.begin(client.first(), false, nullptr));
    const auto answer = client.answer(first.challenge(verifier));
    ASSERT_TRUE(first.finish(*answer).has_value());
    ScramServer second;
    ASSERT_TRUE(second.begin(client.first(), false, nullptr));
    ASSERT_FALSE(second.challenge(verifier).empty());
    EXPECT_FALSE(second.finish(*answer).has_value());
}

TEST(Scram, RefusesABrokerThatWantsLessWorkThanIsSafeOrEndlessWork) {
    for (const char* end : {",i=1", ",i=4095", ",i=1000001", ",i=-5", ",i=", ""}) {
        ScramClient client("user", "pencil", nullptr, nonce);
        EXPECT_FALSE(
            client.answer(std::string("r=") + nonce + "more,s=W22ZaJ0SNY7soEsUEjb6gQ==" + end))
            << end;
    }
    ScramClient client("user", "pencil", nullptr, nonce);
    EXPECT_FALSE(client.answer(std::string("r=") + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
        << "its own part of the nonce is missing";
}

TEST(Scram, TakesNothingThatIsNotWhatTheStandardSays) {
    for (const char* text : {"", "n", "n,,", "n,,n=alice", "n,,r=abc,n=alice", "n,,n=,r=abc",
                             "n,,n=alice,r=", "n,a=root,n=alice,r=abc",
                             "p=tls-unique,,n=alice,r=abc", "n,,n=al=ice,r=abc", "x,,"}) {
        EXPECT_FALSE(ScramServer().begin(text, false, nullptr)) << text;
    }
    ScramServer broker;
    ASSERT_TRUE(broker.begin("n,,n=a=2Cb=3Dc,r=abc", false, nullptr));
    EXPECT_EQ(broker.user(), "a,b=c");
    ASSERT_FALSE(broker.challenge(verifier_of_the_standard()).empty());
    for (const char* text : {"", ",p=", "c=biws,r=abc", "c=biws,r=abc,p=AAAA", "p=,p=,p="})
        EXPECT_FALSE(broker.finish(text).has_value()) << text;
}

TEST(ScramVerifier, IsWrittenAndReadAndHasAnotherSaltEachTime) {
    const ScramVerifier made = ScramVerifier::of("right");
    const auto read = ScramVerifier::parse(made.text());
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(*read, made);
    EXPECT_TRUE(read->fits("right"));
    EXPECT_FALSE(read->fits("wrong"));
    EXPECT_NE(ScramVerifier::of("right").salt, made.salt);
    for (const char* text : {"", "SCRAM-SHA-256$", "SCRAM-SHA-256$1:AAAA$AAAA:AAAA", "plain:right"})
        EXPECT_FALSE(ScramVerifier::parse(text).has_value()) << text;
}

TEST(ScramVerifier, OfNobodyIsTheSameForOneNameAndAnotherForTheNext) {
    const auto secret = random_bytes(32);
    const auto one = ScramVerifier::of_nobody("alice", secret);
    EXPECT_EQ(one, ScramVerifier::of_nobody("alice", secret));
    EXPECT_NE(one.salt, ScramVerifier::of_nobody("bob", secret).salt);
    EXPECT_EQ(one.iterations, ScramVerifier::of("x").iterations);
    EXPECT_EQ(one.salt.size(), ScramVerifier::of("x").salt.size());
}

}  // namespace
}  // namespace ferry::secure

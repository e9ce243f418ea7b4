#include <cstdio>
#include <string>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "commands/saga.hpp"
#include "ferry/saga/harness.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using saga::Harness;
using saga::Play;

saga::Definition order() {
    using namespace std::chrono_literals;
    saga::Builder builder("order");
    builder.deadline(1h)
        .step("reserve")
        .command("stock.reserve")
        .compensation("stock.release")
        .step("charge")
        .command("payment.charge")
        .compensation("payment.refund")
        .undo({1'000, 60'000, 300'000})
        .step("ship")
        .command("shipping.ship")
        .pivot()
        .step("mail")
        .command("mail.send");
    return std::move(builder.build()).value();
}

/// True: it ended as it should.
bool tell(const Context& context, const char* title, const Harness& harness,
          saga::SagaState wanted) {
    const bool ok = harness.state() == wanted && harness.disagreement().empty();
    if (context.json) {
        print_json({{"story", title},
                    {"state", saga::name_of(harness.state())},
                    {"reason", harness.reason()},
                    {"lines", harness.story()},
                    {"ok", ok}});
        return ok;
    }
    std::printf("\n%s\n", title);
    for (const std::string& line : harness.story()) std::printf("%s\n", line.c_str());
    if (!ok) std::printf("THIS IS WRONG: %s\n", harness.disagreement().c_str());
    return ok;
}

int demo(const Context& context) {
    if (!context.json) {
        std::printf(
            "An order: reserve stock, charge the card, ship (the pivot), send a mail. Time "
            "passes by itself here;\nparticipants are scripted and have the barrier that "
            "real ones have.\n");
    }
    bool ok = true;
    {
        Harness harness(order());
        harness.start().run();
        ok = tell(context, "Everything works:", harness, saga::SagaState::completed) && ok;
    }
    {
        Harness harness(order());
        harness.act("ship", {Play::failed("no courier")}).start().run();
        ok = tell(context,
                  "Shipping fails: the charge and the reservation are undone, last first:", harness,
                  saga::SagaState::compensated) &&
             ok;
    }
    {
        Harness harness(order());
        harness.act("charge", {Play::lost_answer(), Play::done()}).start().run();
        ok = tell(context,
                  "The card is charged and the answer lost: asked again, charged once:", harness,
                  saga::SagaState::completed) &&
             ok;
    }
    {
        Harness harness(order());
        harness.act("charge", std::vector<Play>(5, Play::lost())).start().run();
        ok =
            tell(context, "Nobody answers: what may have happened is undone as if it had:", harness,
                 saga::SagaState::compensated) &&
            ok;
    }
    {
        Harness harness(order());
        harness.act("ship", {Play::failed("no courier")})
            .undo("charge", std::vector<Play>(1000, Play::failed("the bank is closed")))
            .start()
            .run();
        const bool parked = harness.state() == saga::SagaState::parked;
        harness.undo("charge", {}).retry().run();
        ok = tell(context, "The refund keeps failing: parked, until an operator retries:", harness,
                  saga::SagaState::compensated) &&
             parked && ok;
    }
    return ok ? exit_done : exit_refused;
}

}  // namespace

void add_saga_demo(Command& saga, Context& context) {
    add_saga_command(
        saga, context, "demo", "An order that works, and four that are broken on purpose",
        [&context] { return demo(context); }, {"ferry saga demo", "ferry saga demo --json"});
}

}  // namespace ferry::cli

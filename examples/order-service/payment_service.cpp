// Books payments of orders in a database of its own, and says so.
//
//   payment-service DB URL

#include "service.hpp"

namespace {

using namespace ferry;

/// "17 990": book 990 cents for order 17. Booking, the mark that it was booked and the answer (to
/// the queue that the order named) are one transaction.
consumer::Handled book(consumer::Effects& effects) {
    const std::string text(effects.message().payload());
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find_first_not_of("0123456789 ") != std::string::npos) {
        return consumer::Handled::poison("a payment is \"ORDER CENTS\", not \"" + text + "\"");
    }
    const std::string order = text.substr(0, space);
    effects.run("INSERT INTO payment(order_id, cents) VALUES(?1, ?2)", std::string_view(order),
                std::string_view(text).substr(space + 1));
    effects.publish({.routing_key = effects.message().properties().reply_to,
                     .payload = as_bytes(order),
                     .ordering_key = order});
    return consumer::Handled::done();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return example::fail("usage: payment-service DB URL");
    const auto why = example::prepare(
        argv[1],
        "CREATE TABLE IF NOT EXISTS payment(order_id INTEGER NOT NULL, cents INTEGER "
        "NOT NULL)");
    if (!why.empty()) return example::fail(why);
    return example::serve("payment-service", argv[1], argv[2], "payments", book);
}

#include "app.hpp"

int main(int argc, char** argv) {
    return ferry::cli::run_app(argc, argv);
}

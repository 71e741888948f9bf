// Catch2, version 2 (Debian 12) or 3 (Debian 13), under one name.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#include <catch2/catch_session.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

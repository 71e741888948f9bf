#include <complex>
#include <cstring>
#include <limits>

#include "io/hdf5.h"
#include "io/sha256.h"
#include "io/weights.h"
#include "tests/io/weight_files.h"

namespace ptynet::io {

using namespace tests;          // NOLINT(google-build-using-namespace)
using namespace tests::pickle;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::Contains;

namespace {

bool equal(const Array& a, const Array& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}
std::string torch_of(const std::vector<std::string>& names, float value = 1) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const std::string& name : names) {
    entries.emplace_back(name, tensor({"Float", "0", 2, {2}, {1}}));
  }
  return torch_file(dict(entries), {{"0", raw_all<float>({0, value})}});
}
WeightFile sample() {
  WeightFile weights;
  weights.tensors["encoder.0.conv.weight"] = Array::copy_of<float>({1, 2, 3, 4}, {2, 2, 1, 1});
  weights.tensors["norm.num_batches_tracked"] = Array::copy_of<std::int32_t>({5}, {});
  weights.architecture_json = R"({"name": "tiny"})";
  return weights;
}

}  // namespace

TEST_CASE("weights: the native form holds everything", "[weights]") {
  const TemporaryFolder folder;
  WeightFile weights = sample();
  weights.trained_for.frame_px = {128, 96};
  weights.trained_for.object_pixel_m = {1.5e-8, 2e-8};
  weights.trained_for.photons = 1e6;
  weights.trained_for.orientation = "flip-rows";
  weights.trained_for.probe = Array::copy_of<std::complex<float>>({{1, -2}, {3, 4}}, {1, 2});
  write_weights(folder / "w.h5", weights);
  const WeightFile read = read_weights(folder / "w.h5");
  CHECK(read.format == "ptynet");
  CHECK(read.sha256 == sha256_of_file(folder / "w.h5"));
  REQUIRE(read.tensors.size() == 2);
  for (const auto& [name, tensor] : weights.tensors) CHECK(equal(read.tensors.at(name), tensor));
  CHECK(read.architecture_json == weights.architecture_json);
  CHECK(read.trained_for.frame_px == weights.trained_for.frame_px);
  CHECK(read.trained_for.object_pixel_m == weights.trained_for.object_pixel_m);
  CHECK(read.trained_for.photons == weights.trained_for.photons);
  CHECK(read.trained_for.orientation == weights.trained_for.orientation);
  CHECK(equal(read.trained_for.probe, weights.trained_for.probe));
  CHECK(read.trained_for.probe_sha256 == sha256_of_probe(weights.trained_for.probe));

  write_weights(folder / "bare.h5", sample());
  const TrainingRecord nothing = read_weights(folder / "bare.h5").trained_for;
  CHECK_FALSE((nothing.frame_px || nothing.object_pixel_m || nothing.photons));
  CHECK_FALSE((nothing.orientation || nothing.probe_sha256));
  CHECK(nothing.probe.empty());
}

TEST_CASE("weights: the form is recognised by content, whatever the name", "[weights]") {
  const TemporaryFolder folder;
  write_file(folder / "a.h5", torch_of({"w"}));
  CHECK(read_weights(folder / "a.h5").format == "pytorch");
  const std::string header = R"({"model.w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  write_file(folder / "a.pth", raw(static_cast<std::uint64_t>(header.size())) + header + raw(1.0F));
  const WeightFile safetensors = read_weights(folder / "a.pth");
  CHECK(safetensors.format == "safetensors");
  CHECK(safetensors.tensors.count("w") == 1);
  write_weights(folder / "a.safetensors", sample());
  CHECK(read_weights(folder / "a.safetensors").format == "ptynet");
}

TEST_CASE("weights: wrappers' prefixes go when every name has them", "[weights]") {
  const auto names = [](const std::vector<std::string>& stored) {
    StateDict tensors;
    for (const std::string& name : stored) tensors[name] = Array::zeros({1}, DType::kF32);
    std::vector<std::string> out;
    for (const auto& [name, tensor] : without_wrapper_prefixes(tensors)) out.push_back(name);
    return out;
  };
  using Names = std::vector<std::string>;
  CHECK(names({"module.a", "module.b"}) == Names{"a", "b"});
  CHECK(names({"model.a", "model.b"}) == Names{"a", "b"});
  CHECK(names({"model.module._orig_mod.a"}) == Names{"a"});
  CHECK(names({"module.a", "b"}) == Names{"b", "module.a"});
  CHECK(names({"module.a", "model.b"}) == Names{"model.b", "module.a"});
  CHECK(names({"module.", "module.a"}) == Names{"module.", "module.a"});
  CHECK(names({}).empty());
}

TEST_CASE("weights: NaN and infinity are refused with the tensor's name", "[weights]") {
  const TemporaryFolder folder;
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    write_file(folder / "w.pth", torch_of({"decoder.3.bias"}, bad));
    CHECK_THAT(refusal([&] { read_weights(folder / "w.pth"); }),
               Contains("'decoder.3.bias'") && Contains("element 1"));
    WeightFile weights = sample();
    weights.tensors["w"] = Array::copy_of<float>({bad}, {1});
    CHECK_THAT(refusal([&] { write_weights(folder / "w.h5", weights); }), Contains("'w'"));
    CHECK_FALSE(std::filesystem::exists(folder / "w.h5"));
  }
}

TEST_CASE("weights: what is no weight file is refused in one line", "[weights]") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& content) {
    write_file(folder / "w.h5", content);
    return refusal([&] { read_weights(folder / "w.h5"); });
  };
  CHECK_THAT(refused("these are my weights\n"), Contains("w.h5: expected a weight file"));
  CHECK_THAT(refused(""), Contains("it is empty"));
  CHECK_THAT(refused(torch_of({"w"}).substr(0, 300)), Contains("zip archive"));
  CHECK_THAT(refused(std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15)),
             Contains("before version 1.6") && Contains("torch.save(torch.load("));
  CHECK_THAT(refused("\x80\x02"
                     "cos\nsystem\n(X\x04" +
                     std::string(3, '\0') + "truetR."),
             Contains("'os.system'"));
  CHECK_THAT(refused(program(dict({{"w", integer(1)}}))), Contains("dict of tensors"));
  CHECK_THAT(refused(std::string("\x89HDF\r\n\x1a\n", 8) + std::string(100, '\0')),
             Contains("w.h5"));
  CHECK_THAT(refusal([&] { read_weights(folder / "none.pth"); }), Contains("cannot be opened"));
  CHECK_THAT(refusal([&] { read_weights(folder.path()); }), Contains("regular file"));
}

TEST_CASE("weights: native files that are foreign, newer or hostile are refused", "[weights]") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::function<void(Hdf5Writer&)>& fill) {
    Hdf5Writer file(folder / "w.h5");
    fill(file);
    file.commit();
    return refusal([&] { read_weights(folder / "w.h5"); });
  };
  CHECK_THAT(refused([](Hdf5Writer& file) { file.group("/weights"); }),
             Contains("ptynet-weights") && Contains("no such attribute"));
  CHECK_THAT(refused([](Hdf5Writer& file) { file.attribute("/", "format", "keras"); }),
             Contains("format = keras"));
  const auto versioned = [](Hdf5Writer& file, int version) {
    file.attribute("/", "format", "ptynet-weights");
    file.attribute("/", "format_version", version);
  };
  CHECK_THAT(refused([&](Hdf5Writer& file) { versioned(file, 2); }),
             Contains("format_version 1, found 2") && Contains("newer ptynet"));
  CHECK_THAT(refused([&](Hdf5Writer& file) { versioned(file, 1); }), Contains("found none"));
  CHECK_THAT(refused([&](Hdf5Writer& file) {
               versioned(file, 1);
               file.write("/weights/w", std::string("text"));
             }),
             Contains("/weights/w") && Contains("expected a tensor of numbers"));
  CHECK_THAT(refused([&](Hdf5Writer& file) {
               versioned(file, 1);
               file.write("/weights/w", Array::zeros({1}, DType::kF32));
               file.group("/trained_for");
               file.attribute("/trained_for", "frame_px", std::vector<double>{128, -1});
             }),
             Contains("frame_px"));

  write_weights(folder / "good.h5", sample());
  const std::string good = read_file(folder / "good.h5");
  for (std::size_t length = 0; length < good.size(); length += 97) {
    INFO(length);
    write_file(folder / "short.h5", good.substr(0, length));
    refusal([&] { read_weights(folder / "short.h5"); });
  }
}

TEST_CASE("weights: a tensor that cannot be named in the file is refused", "[weights]") {
  const TemporaryFolder folder;
  for (const std::string name : {"a/b", "", "."}) {
    WeightFile weights = sample();
    weights.tensors[name] = Array::zeros({1}, DType::kF32);
    CHECK_THAT(refusal([&] { write_weights(folder / "w.h5", weights); }),
               Contains("cannot be named"));
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("sha256: the standard's examples", "[weights]") {
  CHECK(sha256({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(bytes_of("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const TemporaryFolder folder;
  const std::string million(1000000, 'a');  // FIPS 180-4's third example; more than one buffer
  write_file(folder / "a", million + million);
  CHECK(sha256_of_file(folder / "a") == sha256(bytes_of(million + million)));
  CHECK(sha256(bytes_of(million)) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("weights: demo weights survive the native form bit for bit", "[weights]") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  const WeightFile demo = read_weights(*reference_folder() / "weights/ptynet-s-demo.pth");
  CHECK(demo.sha256 == "6db57844e20ec06e2875b36e04402ebc432b39d87239a189dc95064ba5d1d0cd");
  write_weights(folder / "demo.h5", demo);
  const WeightFile read = read_weights(folder / "demo.h5");
  REQUIRE(read.tensors.size() == demo.tensors.size());
  for (const auto& [name, tensor] : demo.tensors) CHECK(equal(read.tensors.at(name), tensor));
}

}  // namespace ptynet::io

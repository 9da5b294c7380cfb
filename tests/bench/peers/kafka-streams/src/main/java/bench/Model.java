package bench;

import com.microsoft.ml.lightgbm.SWIGTYPE_p_double;
import com.microsoft.ml.lightgbm.SWIGTYPE_p_int;
import com.microsoft.ml.lightgbm.SWIGTYPE_p_long_long;
import com.microsoft.ml.lightgbm.SWIGTYPE_p_p_void;
import com.microsoft.ml.lightgbm.SWIGTYPE_p_void;
import com.microsoft.ml.lightgbm.lightgbmlib;
import com.microsoft.ml.lightgbm.lightgbmlibConstants;
import io.github.metarank.lightgbm4j.LGBMBooster;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.util.Utf8;

/**
 * A LightGBM text model, asked for one row at a time through the C API's fast call, which keeps its parsed settings.
 * Used by one thread.
 */
final class Model {
    static {
        try {
            LGBMBooster.loadNative();
        } catch (IOException missing) {
            throw new UncheckedIOException(missing);
        }
    }

    private final List<Feature> features = new ArrayList<>();
    private final SWIGTYPE_p_void fast;
    private final SWIGTYPE_p_long_long length = lightgbmlib.new_int64_tp();
    private final SWIGTYPE_p_double score = lightgbmlib.new_doubleArray(1);
    private final double[] row;

    /**
     * Load a model.
     *
     * @param artifact LightGBM's text
     * @param list one feature a line, in the model's order: name, and for a category its values, separated by tabs
     * @param requests what a request looks like
     */
    Model(Path artifact, Path list, Schema requests) throws IOException {
        for (String line : Files.readAllLines(list)) {
            String[] cells = line.split("\t");
            Map<Utf8, Double> codes = new HashMap<>();
            for (int code = 1; code < cells.length; code++) {
                codes.put(new Utf8(cells[code]), code - 1.0);
            }
            features.add(new Feature(requests.getField(cells[0]).pos(), codes));
        }
        row = new double[features.size()];
        SWIGTYPE_p_p_void booster = lightgbmlib.new_voidpp();
        SWIGTYPE_p_int iterations = lightgbmlib.new_intp();
        check(lightgbmlib.LGBM_BoosterCreateFromModelfile(artifact.toString(), iterations, booster));
        SWIGTYPE_p_p_void config = lightgbmlib.new_voidpp();
        check(lightgbmlib.LGBM_BoosterPredictForMatSingleRowFastInit(
                lightgbmlib.voidpp_value(booster),
                lightgbmlibConstants.C_API_PREDICT_NORMAL,
                0,
                0,
                lightgbmlibConstants.C_API_DTYPE_FLOAT64,
                row.length,
                "num_threads=1",
                config));
        fast = lightgbmlib.voidpp_value(config);
    }

    /** Return the probability of the positive class. */
    double score(GenericRecord request) {
        for (int column = 0; column < row.length; column++) {
            row[column] = features.get(column).of(request);
        }
        check(lightgbmlib.LGBM_BoosterPredictForMatSingleRowFastCriticalSWIG(row, fast, length, score));
        return lightgbmlib.doubleArray_getitem(score, 0);
    }

    private static void check(int status) {
        if (status != 0) {
            throw new IllegalStateException(lightgbmlib.LGBM_GetLastError());
        }
    }

    /** A field of the request, and the code of each of its values if it is a category. */
    private record Feature(int field, Map<Utf8, Double> codes) {
        double of(GenericRecord request) {
            Object value = request.get(field);
            if (value == null) {
                return Double.NaN;
            }
            return codes.isEmpty() ? ((Number) value).doubleValue() : codes.getOrDefault((Utf8) value, Double.NaN);
        }
    }
}
